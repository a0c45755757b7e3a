"""A small K-Net for instances on the built-in Shapes set, minutes on two CPU cores.

Paper: knet (arXiv 2106.14855), "Training Instance Kernels"
Expect: no number of the paper, which does not use this data; not measured yet
Run: mim train paperzoo knet_tiny_shapes_instance.py
"""

from mmengine.config import read_base

with read_base():
    from ..knet_r50_fpn_instance import *
    from .._base_.datasets.shapes_instance import *
    from .._base_.schedules.schedule_scratch import *

small_norm = dict(type='GN', num_groups=8, requires_grad=True)

model['backbone'].update(
    depth=18,
    base_channels=24,
    frozen_stages=-1,
    norm_eval=False,
    zero_init_residual=False,
    init_cfg=None,
)
model['neck'].update(
    in_channels=[24, 48, 96, 192],
    out_channels=32,
    norm_cfg=dict(type='BN', requires_grad=True),
)
model['rpn_head'].update(
    num_proposals=20,
    in_channels=64,
    out_channels=64,
    num_classes=7,
    norm_cfg=small_norm,
)
model['rpn_head']['localization_fpn'].update(
    in_channels=32,
    feat_channels=32,
    out_channels=64,
    positional_encoding=dict(num_feats=16),
    norm_cfg=small_norm,
)
model['roi_head'].update(num_proposals=20, num_thing_classes=7)
model['roi_head']['mask_head'].update(
    num_classes=7, in_channels=64, out_channels=64, feedforward_channels=256
)
model['test_cfg']['rcnn'].update(max_per_img=30)

# From scratch, classes are learnt far later than masks unless they weigh more.
easy = dict(gamma=1.0, alpha=0.5)
model['rpn_head']['loss_seg'].update(easy, loss_weight=5.0)
model['roi_head']['mask_head']['loss_cls'].update(easy, loss_weight=6.0)
optim_wrapper['optimizer'].update(lr=0.002)
optim_wrapper['clip_grad'].update(max_norm=10)
train_cfg.update(max_epochs=24, val_interval=24)
param_scheduler[1].update(end=24)
