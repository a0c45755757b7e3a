"""A small K-Net for classes of pixels on the Shapes set, minutes on two CPU cores.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 66.1 on Shapes, one seed
    (benchmarks/results/knet_shapes_semantic.json)
Run: mim train paperzoo knet_tiny_shapes_semantic.py
"""

from mmengine.config import read_base

from mmseg.models import UPerHead

with read_base():
    from ..knet_r50_fcn_semantic import *
    from .._base_.datasets.shapes_semantic import *
    from .._base_.schedules.schedule_scratch import *

model['data_preprocessor'].update(size=scale[::-1])
model['backbone'].update(
    depth=18,
    base_channels=24,
    stem_channels=24,
    dilations=(1, 1, 1, 1),
    strides=(1, 2, 2, 2),
    init_cfg=None,
)
model['decode_head']['kernel_generate_head'] = dict(
    type=UPerHead,
    in_channels=[24, 48, 96, 192],
    in_index=[0, 1, 2, 3],
    channels=32,
    pool_scales=(1, 2, 3, 6),
    dropout_ratio=0.1,
    num_classes=10,
    norm_cfg=batch_norm,
    align_corners=False,
    loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0),
    # The first kernels: with mmseg's 0.01 all classes start alike, and the stages tell
    # them apart only hundreds of steps later.
    init_cfg=dict(type='Normal', std=0.3, override=dict(name='conv_seg')),
)
model['decode_head']['kernel_update_head'].update(
    num_classes=10,
    in_channels=32,
    out_channels=32,
    num_heads=4,
    feedforward_channels=128,
    kernel_updator_cfg=dict(in_channels=32, feat_channels=32),
)
model['auxiliary_head'].update(in_channels=96, channels=32, num_classes=10)

optim_wrapper['optimizer'].update(lr=0.003)
train_cfg.update(max_epochs=25, val_interval=25)
param_scheduler[1].update(end=25)
default_hooks['checkpoint'].update(by_epoch=True, interval=1)
log_processor.update(by_epoch=True)
