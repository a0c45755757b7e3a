"""K-Net for instance segmentation, ResNet-50, FPN, on COCO, 1x.

Paper: knet (arXiv 2106.14855), "Training Instance Kernels"
Expect: mask AP 34.0 on COCO (the authors' knet_s3_r50_fpn_1x_coco); not measured by us
Run: mim train paperzoo knet_r50_fpn_instance.py
"""

from mmengine.config import read_base

from mmdet.models import FPN, DetDataPreprocessor, ResNet
from paperzoo.common import DiceLoss, FocalLoss
from paperzoo.knet import (
    KNet,
    KNetKernelInitHead,
    KNetKernelIterHead,
    KNetKernelUpdateHead,
    MaskBCELoss,
    SemanticFPNWrapper,
)

with read_base():
    from ._base_.datasets.coco_instance import *
    from ._base_.default_runtime import *
    from ._base_.schedules.schedule_adamw_1x import *

group_norm = dict(type='GN', num_groups=32, requires_grad=True)
focal = dict(type=FocalLoss, use_sigmoid=True, gamma=2.0, alpha=0.25)

model = dict(
    type=KNet,
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
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(
        type=FPN, in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4
    ),
    rpn_head=dict(
        type=KNetKernelInitHead,
        num_proposals=100,
        in_channels=256,
        out_channels=256,
        num_classes=80,
        num_stuff_classes=0,
        cat_stuff_mask=False,
        norm_cfg=group_norm,
        localization_fpn=dict(
            type=SemanticFPNWrapper,
            in_channels=256,
            feat_channels=256,
            out_channels=256,
            positional_encoding=dict(
                type='mmdet.SinePositionalEncoding', num_feats=128, normalize=True
            ),
            norm_cfg=group_norm,
        ),
        loss_seg=dict(focal, loss_weight=1.0),
        loss_mask=dict(type=MaskBCELoss, loss_weight=1.0),
        loss_dice=dict(type=DiceLoss, loss_weight=4.0),
    ),
    roi_head=dict(
        type=KNetKernelIterHead,
        num_stages=3,
        num_proposals=100,
        num_thing_classes=80,
        num_stuff_classes=0,
        do_panoptic=False,
        mask_head=dict(
            type=KNetKernelUpdateHead,
            num_classes=80,
            num_stuff_classes=0,
            in_channels=256,
            out_channels=256,
            num_heads=8,
            feedforward_channels=2048,
            mask_transform_stride=1,
            mask_upsample_stride=2,
            loss_cls=dict(focal, loss_weight=2.0),
            loss_mask=dict(type=MaskBCELoss, loss_weight=1.0),
            loss_dice=dict(type=DiceLoss, loss_weight=4.0),
        ),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=100, mask_thr=0.5)),
)
