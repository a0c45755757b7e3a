"""FCOS, ResNet-101, FPN, multi-scale, 2x.

Paper: fcos (arXiv 1904.01355)
Expect: box AP 41.4 on COCO (the authors' fcos_R_101_FPN_2x); not measured by us
Run: mim train paperzoo fcos_r101_fpn_ms_2x.py
"""

from mmengine.config import read_base

with read_base():
    from .fcos_r50_fpn_ms_2x import *

model['backbone'].update(
    depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
)
