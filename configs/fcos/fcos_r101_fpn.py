"""FCOS, ResNet-101, FPN: the paper's baseline with a deeper backbone, 1x.

Paper: fcos (arXiv 1904.01355)
Expect: the authors name no number for 1x; mmdet 3.3's own training has 39.1
Run: mim train paperzoo fcos_r101_fpn.py
"""

from mmengine.config import read_base

with read_base():
    from ..fcos_r50_fpn import *

model['backbone'].update(
    depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
)
