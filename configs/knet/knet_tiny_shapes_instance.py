"""A small K-Net for instances on the built-in Shapes set, minutes on two CPU cores.

Paper: knet (arXiv 2106.14855), "Training Instance Kernels"
Expect: mask AP 0.249 on Shapes, one seed
    (benchmarks/results/knet_shapes_instance.json)
Run: mim train paperzoo knet_tiny_shapes_instance.py
"""

from mmengine.config import read_base

with read_base():
    from ..knet_r50_fpn_instance import *
    from .._base_.datasets.shapes_instance import *
    from .._base_.schedules.schedule_scratch import *

batch_norm = dict(type='BN', requires_grad=True)

model['backbone'].update(
    depth=18,
    base_channels=24,
    deep_stem=True,
    stem_channels=24,
    frozen_stages=-1,
    norm_eval=False,
    zero_init_residual=False,
    init_cfg=None,
)
model['neck'].update(in_channels=[24, 48, 96, 192], out_channels=32)
model['rpn_head'].update(
    num_proposals=20, in_channels=64, out_channels=64, num_classes=7
)
model['rpn_head']['localization_fpn'].update(
    in_channels=32,
    feat_channels=32,
    out_channels=64,
    positional_encoding=dict(num_feats=16),
)
model['roi_head'].update(num_proposals=20, num_thing_classes=7)
model['roi_head']['mask_head'].update(
    num_classes=7, in_channels=64, out_channels=64, feedforward_channels=256
)
model['test_cfg']['rcnn'].update(max_per_img=30)

# From scratch, masks are learnt long before classes, whose losses therefore weigh more
# than the authors' against dice. Classes begin less rare than on COCO: features would
# first have to learn nothing but that. Group norm takes out how strong a texture is in
# an image, and with it what tells backgrounds apart.
easy = dict(gamma=1.0, alpha=0.5)
model['rpn_head']['norm_cfg'] = batch_norm
model['rpn_head']['localization_fpn']['norm_cfg'] = batch_norm
model['rpn_head']['loss_seg'].update(easy, loss_weight=20.0)
model['rpn_head']['loss_dice'].update(loss_weight=2.0)
model['rpn_head']['init_cfg'] = dict(
    type='Normal',
    layer='Conv2d',
    std=0.01,
    override=[
        dict(type='Normal', name='init_kernels', std=1.0),
        dict(type='Normal', name='conv_seg', std=0.01, bias_prob=0.2),
    ],
)
model['roi_head']['mask_head']['loss_cls'].update(easy, loss_weight=6.0)
model['roi_head']['mask_head']['loss_dice'].update(loss_weight=2.0)
model['roi_head']['mask_head']['init_cfg'] = dict(
    type='Xavier',
    layer='Linear',
    distribution='uniform',
    override=dict(type='Xavier', name='fc_cls', distribution='uniform', bias_prob=0.1),
)
optim_wrapper['clip_grad'].update(max_norm=10)
optim_wrapper['optimizer'].update(lr=0.002)
train_cfg.update(max_epochs=24, val_interval=24)
param_scheduler[1].update(end=24)
