"""Our head in a pure-Python config of your own: here behind mmdet's PAFPN neck.

Paper: fcos (arXiv 1904.01355)
Expect: nothing measured; it shows how a head is put into another detector
Run: paperzoo train projects/fcos_drop_in/fcos_drop_in_python.py
"""

from mmdet.models import PAFPN, DetDataPreprocessor, ResNet, SingleStageDetector
from mmengine.config import read_base

from paperzoo.fcos import FCOSHead, GIoULoss

with read_base():
    from ...configs._base_.datasets.shapes_detection import *
    from ...configs._base_.default_runtime import *
    from ...configs._base_.schedules.schedule_1x import *

model = dict(
    type=SingleStageDetector,
    data_preprocessor=dict(
        type=DetDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type=ResNet,
        depth=18,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    neck=dict(
        type=PAFPN,
        in_channels=[64, 128, 256, 512],
        out_channels=64,
        start_level=1,
        num_outs=3,
    ),
    bbox_head=dict(
        type=FCOSHead,
        num_classes=7,
        in_channels=64,
        feat_channels=64,
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
        center_sampling=True,
        norm_on_bbox=True,
        loss_bbox=dict(type=GIoULoss),
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
    ),
)
optim_wrapper.update(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=10))
