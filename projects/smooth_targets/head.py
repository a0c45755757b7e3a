"""The head that uses the neighbourhood: in training, in prediction, or in both."""

from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, reduce_mean
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead, decode_ltrb, level_points
from paperzoo.fcos.post_processing import suppress
from projects.smooth_targets.neighbours import neighbour_disagreement, vote


@MODELS.register_module()
class SmoothFCOSHead(FCOSHead):
    """An FCOSHead whose neighbouring locations shall agree about the box.

    At the defaults it is an FCOSHead; its weights are one's in any case.

    Args:
        args: Those of `paperzoo.FCOSHead`.
        smooth_weight: Weight of the penalty on neighbours' disagreement, 0 for none. It
            reads the truth to decide who of two neighbours is worse and has to move.
        voting: After the suppression, each box becomes the mean of the candidates of
            its class with at least this IoU with it; None for no such thing.
        kwargs: Those of `paperzoo.FCOSHead`.

    Raises:
        UserError: If an argument is out of range.
    """

    def __init__(
        self,
        *args: Any,
        smooth_weight: float = 0.0,
        voting: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if smooth_weight < 0:
            raise UserError(
                f'SmoothFCOSHead: smooth_weight={smooth_weight!r} would reward '
                'disagreement; give 0 or more in model.bbox_head'
            )
        if voting is not None and not 0 < voting <= 1:
            raise UserError(
                f'SmoothFCOSHead: voting={voting!r} is no IoU; give a number above 0 '
                'and up to 1 in model.bbox_head'
            )
        self.smooth_weight = smooth_weight
        self.voting = voting

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Return FCOS's losses and, with a `smooth_weight`, `loss_smooth`."""
        losses = super().loss_by_feat(
            cls_scores,
            bbox_preds,
            centernesses,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
        if self.smooth_weight > 0:
            boxes = [get_box_tensor(gt.bboxes) for gt in batch_gt_instances]
            disagreement = self.disagreement(bbox_preds, boxes)
            losses['loss_smooth'] = self.smooth_weight * disagreement
        return losses

    def disagreement(self, bbox_preds: list[Tensor], gt_bboxes: list[Tensor]) -> Tensor:
        """Return how far a pair of neighbours disagrees, on the mean over all pairs.

        Args:
            bbox_preds: Distances of each level in training, (images, 4, height, width).
            gt_bboxes: The boxes of each image.
        """
        sizes = [(level.size(-2), level.size(-1)) for level in bbox_preds]
        objects, truth = self._objects(sizes, gt_bboxes)
        parts = [height * width for height, width in sizes]
        total, pairs = bbox_preds[0].new_zeros(()), objects.new_zeros(())
        for ltrb, size, stride, own, around in zip(
            bbox_preds,
            sizes,
            self.stride_pairs,
            objects.split(parts, dim=1),
            truth.split(parts, dim=1),
            strict=True,
        ):
            points = level_points(size, stride, ltrb.dtype, ltrb.device)
            if self.norm_on_bbox:  # distances are in strides, so all else is, too
                unit = ltrb.new_tensor(stride)
                points, around = points / unit, around / unit.repeat(2)
            level_total, level_pairs = neighbour_disagreement(
                decode_ltrb(points.view(*size, 2), ltrb.permute(0, 2, 3, 1)),
                own.unflatten(1, size),
                around.unflatten(1, size),
            )
            total, pairs = total + level_total, pairs + level_pairs
        return total / reduce_mean(pairs.to(total)).clamp(min=1.0)

    @torch.no_grad()
    def _objects(
        self, sizes: list[tuple[int, int]], gt_bboxes: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what the locations learn, (images, points), and its box in pixels.

        Args:
            sizes: Height and width of each level.
            gt_bboxes: The boxes of each image.

        Returns:
            Numbers of the objects, 0 for none, and their boxes, (images, points, 4);
            where there is none, one of width and height 1.
        """
        like = gt_bboxes[0]
        points = [
            level_points(size, stride, like.dtype, like.device)
            for size, stride in zip(sizes, self.stride_pairs, strict=True)
        ]
        objects, truth = [], []
        for boxes in gt_bboxes:
            own = self.assigner.assign(points, self.stride_pairs, boxes, sizes)
            none = boxes.new_tensor([[0, 0, 1, 1]])
            objects.append(own)
            truth.append(torch.cat((none, boxes))[own])
        return torch.stack(objects), torch.stack(truth)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Return the detections of one image, with `voting` moved by their neighbours.

        The arguments are mmdet's.
        """
        if self.voting is None or not with_nms:
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        candidates = super()._bbox_post_process(results, cfg, rescale, False, img_meta)
        if len(candidates) == 0:
            return candidates
        kept = suppress(candidates, cfg.nms, cfg.max_per_img)
        kept.bboxes = vote(
            get_box_tensor(kept.bboxes),
            kept.labels,
            get_box_tensor(candidates.bboxes),
            candidates.labels,
            candidates.scores,
            self.voting,
        )
        return kept
