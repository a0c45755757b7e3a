"""K-Net for panoptic segmentation, deformable ResNet-101, FPN, multi-scale, 3x.

Deformable convolutions (v1) in the backbone's last three stages.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 49.6 on COCO (the authors' knet_s3_r101_dcn-c3-c5_fpn_ms-3x_coco-panoptic);
    not measured by us
Run: mim train paperzoo knet_r101_dcn_fpn_panoptic_ms_3x.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_r101_fpn_panoptic_ms_3x import *

model['backbone'].update(
    dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
    stage_with_dcn=(False, True, True, True),
)
