"""A small FCOS on the built-in Shapes set: the demo, minutes on two CPU cores.

Paper: fcos (arXiv 1904.01355), with the improvements of the authors' code
Expect: box AP 0.494 on Shapes, mean of 3 seeds (benchmarks/results/fcos_shapes.json)
Run: mim train paperzoo fcos_tiny_shapes.py
"""

from mmengine.config import read_base
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from torch.optim import AdamW

from mmdet.datasets.transforms import RandomFlip, Resize
from paperzoo.engine import ChannelsLastHook
from paperzoo.fcos import GIoULoss

with read_base():
    from ..fcos_r50_fpn import *
    from .._base_.datasets.shapes_detection import *

model['backbone'].update(
    depth=18,
    base_channels=24,
    frozen_stages=-1,
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=False,
    zero_init_residual=False,
    init_cfg=None,
)
model['neck'].update(
    in_channels=[24, 48, 96, 192],
    out_channels=48,
    num_outs=3,
    norm_cfg=dict(type='BN', requires_grad=True),
)
model['bbox_head'].update(
    num_classes=7,
    in_channels=48,
    feat_channels=48,
    stacked_convs=2,
    strides=[8, 16, 32],
    regress_ranges=((-1, 28), (28, 56), (56, 1e8)),
    center_sampling=True,
    center_sample_radius=2.0,
    norm_on_bbox=True,
    centerness_on_reg=True,
    norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
)
model['bbox_head']['loss_cls'].update(gamma=1.0, alpha=0.5)
model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)

model['test_cfg'].update(score_thr=0.01)

# Smaller images cost a third less; boxes are measured in the original ones.
scale = (256, 192)
train_pipeline[2:3] = [
    dict(type=Resize, scale=scale, keep_ratio=True),
    dict(
        type=RandomFlip,
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
]
test_pipeline[1].update(scale=scale)
train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader['dataset'].update(pipeline=train_pipeline)
val_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader['dataset'].update(pipeline=test_pipeline)
test_dataloader = val_dataloader
custom_hooks = [dict(type=ChannelsLastHook)]
max_epochs = 18

train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type=CosineAnnealingLR,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# Replaced whole: the base's optimizer and its bias rates belong to SGD.
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=0.002, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10),
)
randomness = dict(seed=0)
