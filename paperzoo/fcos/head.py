"""The FCOS head: its arguments and its network."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from mmcv.cnn import Scale
from mmdet.models.layers import NormedConv2d
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.utils import multi_apply
from mmdet.utils import ConfigType, MultiConfig, OptConfigType
from mmengine.model import NormalInit
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from paperzoo.common import FocalLoss
from paperzoo.fcos.assigner import INF, REGRESS_RANGES, FCOSRangeAssigner
from paperzoo.fcos.losses import CenternessLoss, IoULoss
from paperzoo.fcos.post_processing import FCOSPostProcessing, score_options
from paperzoo.fcos.training import ClsNormalizer, FCOSTraining
from paperzoo.registry import MODELS, TASK_UTILS
from paperzoo.utils.errors import UserError, check_choice

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
class FCOSHead(FCOSTraining, FCOSPostProcessing):
    """Predicts at every location a class, a box around it, and its centre-ness.

    It takes the arguments of mmdet's FCOSHead, has its parameters' names and, at the
    defaults, gives its numbers.

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
        assigner: Replaces the FCOSRangeAssigner that the other arguments describe.
        box_quality: What the third branch learns: `'centerness'`, or the `'iou'` of the
            predicted box with its target. With the latter all positives count alike in
            the box loss.
        cls_normalizer: What the class loss is divided by: the positives, `'fg'`, their
            running mean, `'moving_fg'`, or the number of locations, `'all'`.
        ambiguity: Which of several boxes a location takes, see FCOSRangeAssigner.
        area_convention: What the area of a box is, see FCOSRangeAssigner.
        smooth_iou: Add 1 to intersection and union, as the authors do; it is passed to
            `loss_bbox`, and holds for the IoU of `box_quality`.
        norm_cfg: Normalisation in the towers.
        cls_predictor_cfg: Arguments of a NormedConv2d in place of the last class layer.
        init_cfg: Initial weights.
        **kwargs: Those of mmdet's AnchorFreeHead: `feat_channels`, `stacked_convs`,
            `strides`, `dcn_on_last_conv`, `conv_bias`, `conv_cfg`, `train_cfg`,
            `test_cfg` (whose keys FCOSPostProcessing lists).

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
        box_quality: str = 'centerness',
        cls_normalizer: str = 'fg',
        ambiguity: str = 'area',
        area_convention: str = 'mmdet',
        smooth_iou: bool = False,
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
        self._check_losses(loss_cls, loss_bbox, smooth_iou)
        check_choice('FCOSHead', 'box_quality', box_quality, ('centerness', 'iou'))
        self.box_quality = box_quality
        self.cls_normalizer = ClsNormalizer(cls_normalizer)
        self.loss_centerness = MODELS.build(loss_centerness)
        score_options(self.test_cfg)  # a wrong value is better found now than later
        self.stride_pairs = [to_2tuple(stride) for stride in self.strides]
        self.assigner = TASK_UTILS.build(
            assigner
            or {
                'type': FCOSRangeAssigner,
                'regress_ranges': regress_ranges,
                'center_sampling': center_sampling,
                'center_sample_radius': center_sample_radius,
                'ambiguity': ambiguity,
                'area_convention': area_convention,
            }
        )

    def _check_losses(
        self, loss_cls: ConfigType, loss_bbox: ConfigType, smooth_iou: bool
    ) -> None:
        if getattr(self.loss_cls, 'use_sigmoid', False) and not self.use_sigmoid_cls:
            raise UserError(
                f'FCOSHead: loss_cls={loss_cls} is over sigmoids but does not say so, '
                'and the head counts its channels by that: add use_sigmoid=True to it'
            )
        if smooth_iou and not hasattr(self.loss_bbox, 'smooth_iou'):
            raise UserError(
                f'FCOSHead: smooth_iou=True, but loss_bbox={loss_bbox} has no such '
                "argument: use type='paperzoo.IoULoss' or 'paperzoo.GIoULoss' in it"
            )
        if smooth_iou:
            self.loss_bbox.smooth_iou = True
        self.smooth_iou = getattr(self.loss_bbox, 'smooth_iou', False)

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
                bbox_pred = bbox_pred * _per_side(stride, bbox_pred)
        return cls_score, bbox_pred, centerness_pred


def _per_side(stride: tuple[float, float], like: Tensor) -> float | Tensor:
    """Return the stride that belongs to the maps of left, top, right and bottom."""
    horizontal, vertical = stride
    if horizontal == vertical:
        return horizontal
    return like.new_tensor([horizontal, vertical] * 2).view(4, 1, 1)
