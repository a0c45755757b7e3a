"""FCOS, ResNeXt-101 64x4d, FPN, multi-scale, 2x.

Paper: fcos (arXiv 1904.01355)
Expect: box AP 43.0 on COCO (the authors' fcos_X_101_64x4d_FPN_2x); not measured by us
Run: mim train paperzoo fcos_x101_64x4d_fpn_ms_2x.py
"""

from mmengine.config import read_base

from mmdet.models import ResNeXt

with read_base():
    from .fcos_r50_fpn_ms_2x import *

model['backbone'].update(
    type=ResNeXt,
    depth=101,
    groups=64,
    base_width=4,
    init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_64x4d'),
)
