"""K-Net for semantic segmentation, ResNet-50, DeepLabV3's head, on ADE20K.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 44.6 on ADE20K (the authors' knet_s3_deeplabv3_r50-d8_80k_adamw_ade20k);
    not measured by us
Run: mim train paperzoo knet_r50_deeplabv3_semantic.py
"""

from mmengine.config import read_base

from mmseg.models import ASPPHead

with read_base():
    from ..knet_r50_fcn_semantic import *

model['decode_head']['kernel_generate_head'] = dict(
    type=ASPPHead,
    in_channels=2048,
    in_index=3,
    channels=512,
    dilations=(1, 12, 24, 36),
    dropout_ratio=0.1,
    num_classes=150,
    norm_cfg=batch_norm,
    align_corners=False,
    loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0),
)
