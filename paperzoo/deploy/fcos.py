"""FCOS from pixels to detections: decoding and suppression of a batch at once."""

from typing import Any

import torch
from torch import Tensor, nn

from paperzoo.deploy.inputs import Normalize, rows_at
from paperzoo.deploy.suppression import kept_boxes
from paperzoo.errors import UserError
from paperzoo.fcos.geometry import decode_ltrb, level_points
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.post_processing import score_options

_NMS_KEYS = {'type', 'iou_threshold', 'class_agnostic', 'offset'}


class FCOSGraph(nn.Module):
    """An FCOS detector whose results have one shape for every batch.

    Args:
        model: A detector of mmdet with one stage, whose head is ours.

    Raises:
        UserError: If its `test_cfg` asks for what cannot be written down.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.fcos import FCOSGraph
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> graph = FCOSGraph(paperzoo.build_model(cfg, 'cpu'))
        >>> size, pixels = torch.tensor([64, 96]), torch.zeros(1, 3, 64, 96).byte()
        >>> graph(pixels, size, size)['boxes'].shape
        torch.Size([1, 100, 4])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.normalize = Normalize(model.data_preprocessor)
        self.head: FCOSHead = model.bbox_head
        cfg = self.head.test_cfg or {}
        nms = cfg.get('nms')
        if nms is None or nms.get('type', 'nms') != 'nms' or not set(nms) <= _NMS_KEYS:
            raise UserError(
                f"test_cfg.nms={nms}: only dict(type='nms', iou_threshold=...) can be "
                'exported: --cfg-options model.test_cfg.nms.type=nms'
            )
        if nms.get('offset', 0) or not self.head.use_sigmoid_cls:
            raise UserError(
                'an offset of the suppression and classes by softmax cannot be exported'
            )
        self.class_agnostic = bool(nms.get('class_agnostic', False))
        self.settings: dict[str, Any] = {
            'score_thr': float(cfg.get('score_thr', 0)),
            'nms_pre': int(cfg.get('nms_pre', -1)),
            'max_per_img': int(cfg.get('max_per_img', 100)),
            'min_bbox_size': float(cfg.get('min_bbox_size', -1)),
            'iou_threshold': float(nms['iou_threshold']),
            **score_options(cfg),
        }

    def forward(
        self, images: Tensor, image_size: Tensor, result_size: Tensor
    ) -> dict[str, Tensor]:
        """Return `boxes` (B, K, 4), `scores` and `labels` (B, K), the best first.

        Args:
            images: Pixels, (B, 3, H, W), uint8.
            image_size: Height and width of what is no padding.
            result_size: Height and width that boxes refer to.
        """
        maps = self.head(self.model.extract_feat(self.normalize(images, image_size)))
        levels = [
            self.level(*each)
            for each in zip(*maps, self.head.stride_pairs, strict=True)
        ]
        boxes, scores, labels = (torch.cat(v, 1) for v in zip(*levels, strict=True))
        limit = image_size.flip(0).repeat(2).to(boxes)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        boxes = boxes * (result_size.flip(0).repeat(2).to(boxes) / limit)
        smallest = self.settings['min_bbox_size']
        if smallest >= 0:
            large = (boxes[..., 2:] - boxes[..., :2] > smallest).all(-1)
            scores = torch.where(large, scores, 0.0)
        return self.best(boxes, scores, labels)

    def level(
        self, logits: Tensor, ltrb: Tensor, quality: Tensor, stride: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels of a level's candidates.

        Those that are none have the score 0. See `level_candidates`, of which this is
        the form without boolean indexing.

        Args:
            logits: Class logits, (B, C, h, w).
            ltrb: Distances, (B, 4, h, w), in pixels.
            quality: Centre-ness logits, (B, 1, h, w).
            stride: Of the level.
        """
        one = self.settings
        classes = logits.size(1)
        size = (logits.size(2), logits.size(3))
        points = level_points(size, stride, ltrb.dtype, ltrb.device)
        cls = logits.sigmoid().flatten(2).transpose(1, 2)
        product = cls * quality.sigmoid().flatten(1)[..., None]
        rank = cls if one['rank_by'] == 'cls' else product
        limited = cls if one['threshold_by'] == 'cls' else product
        rank = torch.where(limited > one['score_thr'], rank, -1.0).flatten(1)
        count = rank.size(1)
        if one['nms_pre'] > 0:
            count = torch.sym_min(one['nms_pre'], count)
        top, at = rank.topk(count, dim=1)
        score = product.flatten(1).gather(1, at)
        if one['score_mode'] == 'sqrt':
            score = score.sqrt()
        score = torch.where(top > 0, score, 0.0)
        point = at // classes
        distances = rows_at(ltrb.flatten(2).transpose(1, 2), point)
        return decode_ltrb(points[point], distances), score, at % classes

    def best(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the best boxes that suppression leaves.

        Args:
            boxes: Candidates, (B, N, 4).
            scores: 0 where there is none, (B, N).
            labels: (B, N).
        """
        one, apart = self.settings, boxes
        if not self.class_agnostic:  # as mmcv: classes far from each other
            far = boxes.amax((1, 2))[:, None, None] + 1
            apart = boxes + labels[..., None] * far
        chosen = kept_boxes(apart, scores, one['iou_threshold'], one['max_per_img'])
        image, number = chosen[:, 0], chosen[:, 2]
        kept = torch.zeros_like(scores)
        kept = kept.index_put((image, number), scores[image, number])
        most = torch.sym_min(one['max_per_img'], kept.size(1))
        best, at = kept.topk(most, dim=1)
        return {
            'boxes': rows_at(boxes, at),
            'scores': best,
            'labels': rows_at(labels, at),
        }
