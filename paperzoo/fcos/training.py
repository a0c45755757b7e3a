"""What the locations of FCOS should predict, and what they pay for predicting else."""

import torch
from jaxtyping import Float, Int
from mmdet.models.dense_heads import AnchorFreeHead
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from paperzoo.fcos.assigner import FCOSRangeAssigner
from paperzoo.fcos.geometry import centerness, decode_ltrb, encode_ltrb, level_points
from paperzoo.fcos.losses import aligned_iou_union
from paperzoo.utils.errors import check_choice

MOMENTUM = 0.9
FIRST_MEAN = 100.0


class ClsNormalizer(nn.Module):
    """Returns what to divide the class loss by; all numbers are means over the ranks.

    Args:
        kind: `'fg'`, the number of positives (the paper's); `'moving_fg'`, its running
            mean, kept in a buffer that is saved with the weights; or `'all'`, the
            number of locations.

    Paper: fcos Eq. 2 (N_pos of its classification term)
    Differs: `'moving_fg'` and `'all'` are options of the authors' AdelaiDet.
    """

    moving_positives: Tensor

    def __init__(self, kind: str = 'fg') -> None:
        super().__init__()
        choices = ('fg', 'moving_fg', 'all')
        check_choice('FCOSHead', 'cls_normalizer', kind, choices)
        self.kind = kind
        if kind == 'moving_fg':
            self.register_buffer('moving_positives', torch.tensor(FIRST_MEAN))

    @torch.no_grad()
    def forward(
        self, positives: Float[Tensor, ''], locations: Float[Tensor, '']
    ) -> Float[Tensor, '']:
        """Return the divisor, at least 1.

        Args:
            positives: How many locations have an object, per rank.
            locations: How many there are, per rank.
        """
        if self.kind == 'all':
            return locations.clamp(min=1.0)
        if self.kind == 'moving_fg':
            mean = self.moving_positives
            if self.training:
                mean = MOMENTUM * mean + (1 - MOMENTUM) * positives
                # Replaced, not overwritten: a compiled backward pass may compute the
                # mean once more, from the buffer that it was given.
                self.moving_positives = mean
            return mean.clamp(min=1.0)
        return positives.clamp(min=1.0)


class FCOSTraining(AnchorFreeHead):
    """Targets and losses of an FCOS head.

    Everything is computed over all locations by masking: shapes do not depend on how
    many objects there are, nothing is read back from the device, and images without
    objects take the same path as all others.
    """

    assigner: FCOSRangeAssigner
    box_quality: str
    cls_normalizer: ClsNormalizer
    norm_on_bbox: bool
    smooth_iou: bool
    stride_pairs: list[tuple[float, float]]

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Return the three losses of a batch.

        Args:
            cls_scores: Class logits of each level, (images, classes, height, width).
            bbox_preds: Distances of each level, (images, 4, height, width).
            centernesses: Centre-ness logits of each level, (images, 1, height, width).
            batch_gt_instances: `bboxes` and `labels` of each image.
            batch_img_metas: Not used.
            batch_gt_instances_ignore: Not used.

        Paper: fcos Eq. 2
        """
        sizes = [(level.size(-2), level.size(-1)) for level in bbox_preds]
        points = [
            level_points(size, stride, level.dtype, level.device)
            for size, stride, level in zip(
                sizes, self.stride_pairs, bbox_preds, strict=True
            )
        ]
        labels, targets = self._targets(points, batch_gt_instances, sizes)
        return self.losses(
            _flatten(cls_scores),
            _flatten(bbox_preds),
            _flatten(centernesses).squeeze(-1),
            torch.cat(points),
            labels,
            targets,
        )

    def losses(
        self,
        scores: Float[Tensor, 'images points channels'],
        ltrb: Float[Tensor, 'images points 4'],
        quality: Float[Tensor, 'images points'],
        points: Float[Tensor, 'points 2'],
        labels: Int[Tensor, 'images points'],
        ltrb_targets: Float[Tensor, 'images points 4'],
    ) -> dict[str, Tensor]:
        """Return the three losses of all locations; tensors only, of static shapes.

        Args:
            scores: Class logits.
            ltrb: Predicted distances.
            quality: Logits of the centre-ness or of the IoU.
            points: Where the distances are measured from.
            labels: Classes, `num_classes` on background.
            ltrb_targets: True distances, in the unit of the predicted ones.

        Paper: fcos Eq. 2
        Differs: like the authors' code, the box loss is weighted by centre-ness and
            divided by its sum, except with `box_quality='iou'`.
        """
        scores, labels = scores.flatten(0, 1), labels.flatten()
        positive = (labels >= 0) & (labels < self.num_classes)
        num_pos = reduce_mean(positive.sum().float())
        num_all = reduce_mean(num_pos.new_full((), len(labels)))
        divisor = self.cls_normalizer(num_pos, num_all)
        losses = {'loss_cls': self.loss_cls(scores, labels, avg_factor=divisor)}
        if getattr(self.loss_cls, 'custom_accuracy', False):
            losses.update(self.loss_cls.get_accuracy(scores, labels))
        # Where there is no object, a unit box stands for prediction and target alike:
        # the loss is finite there, and its weight of 0 and where() leave no gradient.
        there = positive.unsqueeze(-1)
        return losses | self._box_losses(
            torch.where(there, ltrb.flatten(0, 1), 1.0),
            torch.where(there, ltrb_targets.flatten(0, 1), 1.0),
            points.repeat(len(ltrb), 1),
            quality.flatten(),
            positive.to(ltrb.dtype),
            num_pos.clamp(min=1.0),
        )

    def _box_losses(
        self,
        ltrb: Float[Tensor, 'rows 4'],
        ltrb_targets: Float[Tensor, 'rows 4'],
        points: Float[Tensor, 'rows 2'],
        quality: Float[Tensor, ' rows'],
        positive: Float[Tensor, ' rows'],
        num_pos: Float[Tensor, ''],
    ) -> dict[str, Tensor]:
        """Return the losses of boxes and of their quality; rows without object are 0.

        Args:
            ltrb: Predicted distances.
            ltrb_targets: True distances.
            points: Where they are measured from.
            quality: Logits of the centre-ness or of the IoU.
            positive: 1 where there is an object, 0 elsewhere.
            num_pos: How many there are, at least 1.
        """
        boxes, targets = decode_ltrb(points, ltrb), decode_ltrb(points, ltrb_targets)
        if self.box_quality == 'iou':
            iou, _ = aligned_iou_union(boxes, targets, smooth=self.smooth_iou)
            goal, weight, divisor = iou.detach() * positive, positive, num_pos
        else:
            goal = weight = centerness(ltrb_targets) * positive
            divisor = reduce_mean(weight.sum()).clamp(min=1e-6)
        return {
            'loss_bbox': self.loss_bbox(
                boxes, targets, weight=weight, avg_factor=divisor
            ),
            'loss_centerness': self.loss_centerness(
                quality, goal, weight=positive, avg_factor=num_pos
            ),
        }

    def get_targets(
        self, points: list[Tensor], batch_gt_instances: InstanceList
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return what every location of a batch should predict, as mmdet does.

        Args:
            points: x and y of the points of each level, (points, 2).
            batch_gt_instances: `bboxes` and `labels` of each image.

        Returns:
            For each level, images one after the other: labels (images * points), where
            `num_classes` is background, and distances (images * points, 4), zero on
            background, in strides if `norm_on_bbox`.
        """
        sizes = [len(level) for level in points]
        labels, ltrb = self._targets(points, batch_gt_instances)
        return (
            [level.flatten() for level in labels.split(sizes, dim=1)],
            [level.flatten(0, 1) for level in ltrb.split(sizes, dim=1)],
        )

    def _targets(
        self,
        points: list[Tensor],
        batch_gt_instances: InstanceList,
        sizes: list[tuple[int, int]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return labels (images, points) and distances (images, points, 4)."""
        per_image = [
            self.targets_of_image(points, get_box_tensor(gt.bboxes), gt.labels, sizes)
            for gt in batch_gt_instances
        ]
        labels, ltrb = zip(*per_image, strict=True)
        return torch.stack(labels), torch.stack(ltrb)

    @torch.no_grad()
    def targets_of_image(
        self,
        points: list[Tensor],
        boxes: Tensor,
        labels: Tensor,
        sizes: list[tuple[int, int]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what all points of one image should predict; tensors only.

        Args:
            points: x and y of the points of each level, (points, 2).
            boxes: The boxes of the image, (boxes, 4).
            labels: Their classes.
            sizes: Height and width of each level, if the points lie on grids.

        Returns:
            Classes (points) and distances (points, 4).
        """
        gt_inds = self.assigner.assign(points, self.stride_pairs, boxes, sizes)
        # Entry 0 is the background, so an image without boxes is no special case.
        labels = torch.cat((labels.new_full((1,), self.num_classes), labels))
        boxes = torch.cat((boxes.new_zeros(1, 4), boxes))
        ltrb = encode_ltrb(torch.cat(points), boxes[gt_inds])
        if self.norm_on_bbox:
            ltrb = ltrb / torch.cat(
                [
                    level.new_tensor(stride * 2).expand(len(level), 4)
                    for level, stride in zip(points, self.stride_pairs, strict=True)
                ]
            )
        return labels[gt_inds], torch.where(gt_inds[:, None] > 0, ltrb, 0.0)


def _flatten(maps: list[Tensor]) -> Tensor:
    """Return the maps of all levels as (images, points, channels)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
