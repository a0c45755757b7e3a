"""FCOS, MobileNetV2, FPN, 1x.

Paper: fcos (arXiv 1904.01355)
Expect: box AP 31.0 on COCO (the authors' fcos_bn_bs16_MNV2_FPN_1x); not measured by us
Run: mim train paperzoo fcos_mnv2_fpn.py
"""

from mmengine.config import read_base

from mmdet.models import MobileNetV2

with read_base():
    from ..fcos_r50_fpn import *

# Replaced whole: no argument of the ResNet fits.
model['backbone'] = dict(
    type=MobileNetV2,
    out_indices=(2, 4, 7),
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=False,
    init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
)
model['neck'].update(in_channels=[32, 96, 1280], start_level=0)
