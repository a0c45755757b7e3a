"""K-Net for semantic segmentation, ResNet-50, FCN, on ADE20K, 80 000 iterations.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 43.3 on ADE20K (the authors' knet_s3_fcn_r50-d8_80k_adamw_ade20k); not
    measured by us
Run: mim train paperzoo knet_r50_fcn_semantic.py
"""

from mmengine.config import read_base

from mmseg.models import (
    CrossEntropyLoss,
    EncoderDecoder,
    FCNHead,
    ResNetV1c,
    SegDataPreProcessor,
)
from paperzoo.knet import KNetKernelUpdateHead, KNetSemanticHead

with read_base():
    from ._base_.datasets.ade20k_semantic import *
    from ._base_.default_runtime_semantic import *
    from ._base_.schedules.schedule_adamw_80k import *

batch_norm = dict(type='BN', requires_grad=True)

model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(
        type=SegDataPreProcessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type=ResNetV1c,
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        norm_cfg=batch_norm,
        norm_eval=False,
        style='pytorch',
        contract_dilation=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c'),
    ),
    decode_head=dict(
        type=KNetSemanticHead,
        num_stages=3,
        kernel_update_head=dict(
            type=KNetKernelUpdateHead,
            num_classes=150,
            in_channels=512,
            out_channels=512,
            num_heads=8,
            feedforward_channels=2048,
            # Half of a kernel's width: the authors update its halves by themselves.
            kernel_updator_cfg=dict(in_channels=256, feat_channels=256),
        ),
        kernel_generate_head=dict(
            type=FCNHead,
            in_channels=2048,
            in_index=3,
            channels=512,
            num_convs=2,
            concat_input=True,
            dropout_ratio=0.1,
            num_classes=150,
            norm_cfg=batch_norm,
            align_corners=False,
            loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0),
        ),
    ),
    auxiliary_head=dict(
        type=FCNHead,
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=batch_norm,
        align_corners=False,
        loss_decode=dict(type=CrossEntropyLoss, loss_weight=0.4),
    ),
    train_cfg={},
    test_cfg=dict(mode='whole'),
)

default_hooks['checkpoint'].update(by_epoch=False, interval=8000)
log_processor.update(by_epoch=False)
