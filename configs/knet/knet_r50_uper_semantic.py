"""K-Net for semantic segmentation, ResNet-50, UPerNet's head, on ADE20K.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 43.6 on ADE20K (the authors' knet_s3_upernet_r50-d8_80k_adamw_ade20k); not
    measured by us
Run: mim train paperzoo knet_r50_uper_semantic.py
"""

from mmengine.config import read_base

from mmseg.models import UPerHead

with read_base():
    from ..knet_r50_fcn_semantic import *

model['backbone'].update(dilations=(1, 1, 1, 1), strides=(1, 2, 2, 2))
# 256 channels are the authors'; mmseg's checkpoints have 512 (and kernel_updator_cfg).
model['decode_head']['kernel_generate_head'] = dict(
    type=UPerHead,
    in_channels=[256, 512, 1024, 2048],
    in_index=[0, 1, 2, 3],
    channels=256,
    pool_scales=(1, 2, 3, 6),
    dropout_ratio=0.1,
    num_classes=150,
    norm_cfg=batch_norm,
    align_corners=False,
    loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0),
)
model['decode_head']['kernel_update_head'].update(in_channels=256, out_channels=256)
