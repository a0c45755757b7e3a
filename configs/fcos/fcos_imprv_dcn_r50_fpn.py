"""FCOS with the authors' improvements and deformable convolutions, ResNet-50, 1x.

In the backbone's last three stages and in the last layer of both towers.

Paper: fcos-journal (arXiv 2006.09214)
Expect: box AP 42.3 on COCO (the authors' fcos_imprv_dcnv2_R_50_FPN_1x); not measured
    by us
Run: mim train paperzoo fcos_imprv_dcn_r50_fpn.py
"""

from mmengine.config import read_base

with read_base():
    from .fcos_imprv_r50_fpn import *

model['backbone'].update(
    dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
    stage_with_dcn=(False, True, True, True),
)
model['bbox_head'].update(dcn_on_last_conv=True)
