"""FCOS, ResNet-50, FPN: the paper's baseline on COCO, 1x.

Paper: fcos (arXiv 1904.01355), "Center-ness"; head of the authors' fcos_R_50_FPN_1x
Expect: box AP 37.1 on COCO val2017 (the authors' number); not measured by us
Run: mim train paperzoo fcos_r50_fpn.py
Differs: torchvision's ResNet-50 (RGB, scaled) in place of the Caffe one.
"""

from mmengine.config import read_base
from mmengine.optim import ConstantLR

from mmdet.models import FCOS, FPN, DetDataPreprocessor, ResNet
from paperzoo.common import FocalLoss
from paperzoo.fcos import CenternessLoss, FCOSHead, IoULoss

with read_base():
    from ._base_.datasets.coco_detection import *
    from ._base_.default_runtime import *
    from ._base_.schedules.schedule_1x import *

model = dict(
    type=FCOS,
    data_preprocessor=dict(
        type=DetDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type=ResNet,
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(
        type=FPN,
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs='on_output',
        num_outs=5,
        relu_before_extra_convs=True,
    ),
    bbox_head=dict(
        type=FCOSHead,
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        strides=[8, 16, 32, 64, 128],
        conv_bias=True,
        loss_cls=dict(
            type=FocalLoss, use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox=dict(type=IoULoss, loss_weight=1.0),
        loss_centerness=dict(type=CenternessLoss, loss_weight=1.0),
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
    ),
)

param_scheduler[0] = dict(
    type=ConstantLR, factor=1.0 / 3, by_epoch=False, begin=0, end=500
)
optim_wrapper.update(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
    clip_grad=None,
)
