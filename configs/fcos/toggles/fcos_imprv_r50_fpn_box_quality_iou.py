"""Improved FCOS whose second branch predicts the IoU of its box, not centre-ness.

Paper: fcos-journal (arXiv 2006.09214)
Expect: box AP 39.4 on COCO (the authors' R_50_1x_iou in AdelaiDet); not measured by us
Run: mim train paperzoo fcos_imprv_r50_fpn_box_quality_iou.py
"""

from mmengine.config import read_base

with read_base():
    from ..fcos_imprv_r50_fpn import *

model['bbox_head'].update(box_quality='iou')
