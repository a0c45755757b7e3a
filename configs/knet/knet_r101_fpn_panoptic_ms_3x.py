"""K-Net for panoptic segmentation, ResNet-101, FPN, multi-scale, 3x.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 48.4 on COCO (the authors' knet_s3_r101_fpn_ms-3x_coco-panoptic); not
    measured by us
Run: mim train paperzoo knet_r101_fpn_panoptic_ms_3x.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_r50_fpn_panoptic_ms_3x import *

model['backbone'].update(
    depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
)
