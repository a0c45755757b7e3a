"""The FCOS head: towers, targets and losses."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from mmcv.cnn import Scale
from mmdet.models.dense_heads import AnchorFreeHead
from mmdet.models.layers import NormedConv2d
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.utils import multi_apply
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import (
    ConfigType,
    InstanceList,
    MultiConfig,
    OptConfigType,
    reduce_mean,
)
from mmengine.model import NormalInit
from mmengine.structures import InstanceData
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from paperzoo.common import FocalLoss
from paperzoo.errors import UserError
from paperzoo.fcos.assigner import INF, REGRESS_RANGES, FCOSRangeAssigner
from paperzoo.fcos.geometry import centerness, decode_ltrb, encode_ltrb, level_points
from paperzoo.fcos.losses import CenternessLoss, IoULoss
from paperzoo.registry import MODELS, TASK_UTILS

# No box reaches farther, and areas of such boxes are still far from overflow.
MAX_EXPONENT = log(INF)

# Classes as types: a bare name is another class under another default scope.
LOSS_CLS = {'type': FocalLoss, 'use_sigmoid': True, 'gamma': 2.0, 'alpha': 0.25}
LOSS_BBOX = {'type': IoULoss, 'loss_weight': 1.0}
LOSS_CENTERNESS = {'type': CenternessLoss, 'loss_weight': 1.0}
BBOX_CODER = {'type': DistancePointBBoxCoder}
NORM_CFG = {'type': nn.GroupNorm, 'num_groups': 32, 'requires_grad': True}
INIT_CFG = {
    'type': NormalInit,
    'layer': 'Conv2d',
    'std': 0.01,
    'override': {
        'type': NormalInit,
        'name': 'conv_cls',
        'std': 0.01,
        'bias_prob': 0.01,
    },
}


@MODELS.register_module()
class FCOSHead(AnchorFreeHead):
    """Predicts at every location a class, a box around it, and its centre-ness.

    It takes the arguments of mmdet's FCOSHead, has its parameters' names and gives its
    numbers; losses are computed over all locations by masking, so shapes do not depend
    on how many objects there are.

    Args:
        num_classes: Number of classes, background not counted.
        in_channels: Channels of the feature maps.
        regress_ranges: Smallest and largest distance of each level, in pixels.
        center_sampling: Only locations near the centre of a box are positive.
        center_sample_radius: How near, in strides of the level.
        norm_on_bbox: Distances are predicted in strides, behind a ReLU, instead of in
            pixels, behind an exponential.
        centerness_on_reg: Centre-ness branches off the box tower instead of the class
            tower.
        loss_cls: Loss of the classes; must name `use_sigmoid`.
        loss_bbox: Loss of the boxes, which it gets as x0, y0, x1, y1.
        loss_centerness: Loss of the centre-ness logits.
        bbox_coder: Turns distances into boxes when predicting.
        assigner: Replaces the FCOSRangeAssigner that the arguments above describe.
        norm_cfg: Normalisation in the towers.
        cls_predictor_cfg: Arguments of a NormedConv2d in place of the last class layer.
        init_cfg: Initial weights.
        **kwargs: Those of mmdet's AnchorFreeHead: `feat_channels`, `stacked_convs`,
            `strides`, `dcn_on_last_conv`, `conv_bias`, `conv_cfg`, `train_cfg`,
            `test_cfg`.

    Paper: fcos "Multi-level Prediction with FPN"
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        regress_ranges: Sequence[Sequence[float]] = REGRESS_RANGES,
        center_sampling: bool = False,
        center_sample_radius: float = 1.5,
        norm_on_bbox: bool = False,
        centerness_on_reg: bool = False,
        loss_cls: ConfigType = LOSS_CLS,
        loss_bbox: ConfigType = LOSS_BBOX,
        loss_centerness: ConfigType = LOSS_CENTERNESS,
        norm_cfg: ConfigType = NORM_CFG,
        cls_predictor_cfg: OptConfigType = None,
        init_cfg: MultiConfig = INIT_CFG,
        bbox_coder: ConfigType = BBOX_CODER,
        assigner: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        self.regress_ranges = regress_ranges
        self.center_sampling = center_sampling
        self.center_sample_radius = center_sample_radius
        self.norm_on_bbox = norm_on_bbox
        self.centerness_on_reg = centerness_on_reg
        self.cls_predictor_cfg = cls_predictor_cfg
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            bbox_coder=bbox_coder,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
            **kwargs,
        )
        if getattr(self.loss_cls, 'use_sigmoid', False) and not self.use_sigmoid_cls:
            raise UserError(
                f'FCOSHead: loss_cls={loss_cls} is over sigmoids but does not say so, '
                'and the head counts its channels by that: add use_sigmoid=True to it'
            )
        self.loss_centerness = MODELS.build(loss_centerness)
        self.stride_pairs = [to_2tuple(stride) for stride in self.strides]
        self.assigner = TASK_UTILS.build(
            assigner
            or {
                'type': FCOSRangeAssigner,
                'regress_ranges': regress_ranges,
                'center_sampling': center_sampling,
                'center_sample_radius': center_sample_radius,
            }
        )

    def _init_layers(self) -> None:
        super()._init_layers()
        self.conv_centerness = nn.Conv2d(self.feat_channels, 1, 3, padding=1)
        self.scales = nn.ModuleList([Scale(1.0) for _ in self.strides])
        if self.cls_predictor_cfg is not None:
            options = {k: v for k, v in self.cls_predictor_cfg.items() if k != 'type'}
            self.conv_cls = NormedConv2d(
                self.feat_channels, self.cls_out_channels, 1, padding=0, **options
            )

    def forward(
        self, x: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return class scores, distances and centre-ness logits of each level.

        Args:
            x: The feature map of each level, (images, channels, height, width).

        Returns:
            Logits (images, classes, height, width), distances (images, 4, height,
            width) and logits (images, 1, height, width). The distances are in pixels,
            except in training with `norm_on_bbox`, when they are in strides.
        """
        return multi_apply(self.forward_single, x, self.scales, self.stride_pairs)

    def forward_single(
        self, x: Tensor, scale: Scale, stride: tuple[float, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return class scores, distances and centre-ness logits of one level."""
        cls_score, bbox_pred, cls_feat, reg_feat = super().forward_single(x)
        centerness_pred = self.conv_centerness(
            reg_feat if self.centerness_on_reg else cls_feat
        )
        bbox_pred = scale(bbox_pred)
        if bbox_pred.dtype in (torch.float16, torch.bfloat16):
            bbox_pred = bbox_pred.float()  # an exponential overflows half precision
        if not self.norm_on_bbox:
            bbox_pred = bbox_pred.clamp(max=MAX_EXPONENT).exp()
        else:
            bbox_pred = bbox_pred.clamp(min=0)
            if not self.training:
                bbox_pred = bbox_pred * _per_side(stride, bbox_pred, (4, 1, 1))
        return cls_score, bbox_pred, centerness_pred

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
        Differs: like the authors' code, the box loss is weighted by centre-ness and
            divided by its sum.
        """
        points = self._points(bbox_preds)
        targets = self.get_targets(points, batch_gt_instances)
        labels, bbox_targets = (torch.cat(levels) for levels in targets)
        scores, ltrb = _flatten(cls_scores), _flatten(bbox_preds)
        centerness_pred = _flatten(centernesses).squeeze(-1)
        images = len(batch_gt_instances)
        locations = torch.cat([level.repeat(images, 1) for level in points])

        positive = (labels >= 0) & (labels < self.num_classes)
        num_pos = reduce_mean(positive.sum().float()).clamp(min=1.0)
        # Where there is no object, a unit box stands for prediction and target alike:
        # the loss is finite there, and its weight of 0 and where() leave no gradient.
        ltrb = torch.where(positive[:, None], ltrb, 1.0)
        bbox_targets = torch.where(positive[:, None], bbox_targets, 1.0)
        centrality = centerness(bbox_targets) * positive
        total_centrality = reduce_mean(centrality.sum()).clamp(min=1e-6)

        losses = {'loss_cls': self.loss_cls(scores, labels, avg_factor=num_pos)}
        if getattr(self.loss_cls, 'custom_accuracy', False):
            losses.update(self.loss_cls.get_accuracy(scores, labels))
        losses['loss_bbox'] = self.loss_bbox(
            decode_ltrb(locations, ltrb),
            decode_ltrb(locations, bbox_targets),
            weight=centrality,
            avg_factor=total_centrality,
        )
        losses['loss_centerness'] = self.loss_centerness(
            centerness_pred, centrality, weight=positive.float(), avg_factor=num_pos
        )
        return losses

    def get_targets(
        self, points: list[Tensor], batch_gt_instances: InstanceList
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return what every location of a batch should predict.

        Args:
            points: x and y of the points of each level, (points, 2).
            batch_gt_instances: `bboxes` and `labels` of each image.

        Returns:
            For each level, images one after the other: labels (images * points), where
            `num_classes` is background, and distances (images * points, 4), zero on
            background, in strides if `norm_on_bbox`.
        """
        sizes = [len(level) for level in points]
        per_image = [self._get_targets_single(gt, points) for gt in batch_gt_instances]
        labels = zip(*(labels.split(sizes) for labels, _ in per_image), strict=True)
        ltrb = zip(*(ltrb.split(sizes) for _, ltrb in per_image), strict=True)
        level_labels = [torch.cat(level) for level in labels]
        level_ltrb = [torch.cat(level) for level in ltrb]
        if self.norm_on_bbox:
            level_ltrb = [
                level / _per_side(stride, level, (4,))
                for level, stride in zip(level_ltrb, self.stride_pairs, strict=True)
            ]
        return level_labels, level_ltrb

    @torch.no_grad()
    def _get_targets_single(
        self, gt_instances: InstanceData, points: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return labels and distances, in pixels, of all points of one image."""
        boxes, labels = get_box_tensor(gt_instances.bboxes), gt_instances.labels
        gt_inds = self.assigner.assign(points, self.stride_pairs, boxes)
        # Entry 0 is the background, so an image without boxes is no special case.
        labels = torch.cat((labels.new_full((1,), self.num_classes), labels))
        boxes = torch.cat((boxes.new_zeros(1, 4), boxes))
        ltrb = encode_ltrb(torch.cat(points), boxes[gt_inds])
        return labels[gt_inds], torch.where(gt_inds[:, None] > 0, ltrb, 0.0)

    def _points(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the points of each level, in the type of the maps."""
        return [
            level_points(
                (level.size(-2), level.size(-1)), stride, level.dtype, level.device
            )
            for level, stride in zip(maps, self.stride_pairs, strict=True)
        ]


def _flatten(maps: list[Tensor]) -> Tensor:
    """Return the maps of all levels as rows: level by level, image by image."""
    return torch.cat(
        [level.permute(0, 2, 3, 1).reshape(-1, level.size(1)) for level in maps]
    )


def _per_side(
    stride: tuple[float, float], like: Tensor, shape: tuple[int, ...]
) -> float | Tensor:
    """Return the stride that belongs to left, top, right and bottom."""
    horizontal, vertical = stride
    if horizontal == vertical:
        return horizontal
    return like.new_tensor([horizontal, vertical] * 2).view(shape)
