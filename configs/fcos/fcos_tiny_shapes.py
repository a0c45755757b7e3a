"""A small FCOS on the built-in Shapes set: the demo, minutes on two CPU cores.

Paper: fcos (arXiv 1904.01355), with the improvements of the authors' code
Expect: box AP at least 0.40 on Shapes (made by paperzoo; no paper has it)
Run: mim train paperzoo fcos_tiny_shapes.py
"""

from mmengine.config import read_base
from mmengine.optim import CosineAnnealingLR, LinearLR
from torch.optim import AdamW

from paperzoo.fcos import GIoULoss

with read_base():
    from ..fcos_r50_fpn import *
    from .._base_.datasets.shapes_detection import *

max_epochs = 12

model['backbone'].update(depth=18, base_channels=32, frozen_stages=-1, norm_eval=False,
    norm_cfg=dict(type='BN', requires_grad=True), init_cfg=None)
model['neck'].update(in_channels=[32, 64, 128, 256], out_channels=64)
model['bbox_head'].update(num_classes=7, in_channels=64, feat_channels=64, stacked_convs=2,
    center_sampling=True, norm_on_bbox=True, centerness_on_reg=True)
model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)
model['bbox_head']['norm_cfg'] = dict(type='GN', num_groups=16, requires_grad=True)

train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type=CosineAnnealingLR, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper['optimizer'] = dict(type=AdamW, lr=0.001, weight_decay=0.05)
optim_wrapper.update(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0), clip_grad=dict(max_norm=10))
randomness = dict(seed=0)
