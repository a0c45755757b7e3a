"""FCOS with all of the authors' conventions where mmdet's differ.

Area, IoU loss, score and ranking; for numbers next to theirs, with their weights.

Paper: fcos (arXiv 1904.01355)
Expect: box AP 37.1 on COCO (the authors' fcos_R_50_FPN_1x); not measured by us
Run: mim train paperzoo fcos_r50_fpn_authors.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(area_convention='authors', smooth_iou=True)
model['test_cfg'].update(score_mode='sqrt', rank_by='product')
