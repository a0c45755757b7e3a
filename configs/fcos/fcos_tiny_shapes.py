"""A small FCOS on the built-in Shapes set: the demo, minutes on two CPU cores.

Paper: fcos (arXiv 1904.01355), with the improvements of the authors' code
Expect: box AP at least 0.40 on Shapes (made by paperzoo; no paper has it)
Run: mim train paperzoo fcos_tiny_shapes.py
"""

from mmengine.config import read_base
from mmengine.optim import CosineAnnealingLR, LinearLR
from torch.optim import AdamW

from mmdet.datasets.transforms import Resize
from mmdet.engine.hooks import PipelineSwitchHook
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
    init_cfg=None,
)
model['neck'].update(in_channels=[24, 48, 96, 192], out_channels=48, num_outs=3)
model['bbox_head'].update(
    num_classes=7,
    in_channels=48,
    feat_channels=48,
    stacked_convs=2,
    strides=[8, 16, 32],
    regress_ranges=((-1, 64), (64, 128), (128, 1e8)),
    center_sampling=True,
    norm_on_bbox=True,
    centerness_on_reg=True,
    norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
)
model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)

# Most of the epochs see small images, a third of the work; the last ones the full size.
full_size_pipeline = train_pipeline
small_size_pipeline = [
    *train_pipeline[:2],
    dict(type=Resize, scale=(192, 144), keep_ratio=True),
    *train_pipeline[2:],
]
train_dataloader['dataset']['pipeline'] = small_size_pipeline
max_epochs = 16
custom_hooks = [
    dict(type=PipelineSwitchHook, switch_epoch=12, switch_pipeline=full_size_pipeline)
]

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
optim_wrapper['optimizer'] = dict(type=AdamW, lr=0.003, weight_decay=0.05)
optim_wrapper.update(
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10),
)
randomness = dict(seed=0)
