"""A small K-Net on real streets (CamVid), from scratch, minutes on two CPU cores.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 35.5 on CamVid, one seed (benchmarks/results/knet_camvid.json), as much as
    its twin without kernels, fcn_tiny_camvid
Run: PAPERZOO_DATA=FOLDER_OF_camvid mim train paperzoo knet_tiny_camvid.py
"""

from mmengine.config import read_base

with read_base():
    from ..knet_r50_fcn_semantic import *
    from .._base_.datasets.camvid_semantic import *
    from .._base_.schedules.schedule_scratch import *

model['data_preprocessor'].update(size=crop_size)
model['backbone'].update(depth=18, base_channels=24, stem_channels=24, init_cfg=None)
model['decode_head']['kernel_generate_head'].update(
    in_channels=192,
    channels=64,
    num_classes=11,
    # The first kernels: with mmseg's 0.01 all classes start alike.
    init_cfg=dict(type='Normal', std=0.3, override=dict(name='conv_seg')),
)
model['decode_head']['kernel_update_head'].update(
    num_classes=11,
    in_channels=64,
    out_channels=64,
    feedforward_channels=256,
    kernel_updator_cfg=dict(in_channels=64, feat_channels=64),
)
model['auxiliary_head'].update(in_channels=96, channels=64, num_classes=11)

optim_wrapper['optimizer'].update(lr=0.002)
train_cfg.update(max_epochs=10, val_interval=10)
param_scheduler[1].update(end=10)
default_hooks['checkpoint'].update(by_epoch=True, interval=1)
log_processor.update(by_epoch=True)
