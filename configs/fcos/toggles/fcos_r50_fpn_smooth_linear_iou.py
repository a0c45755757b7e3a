"""FCOS with the authors' linear IoU loss.

The authors add 1 to intersection and union; mmdet does not.

Paper: fcos (arXiv 1904.01355)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_smooth_linear_iou.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head']['loss_bbox'].update(mode='linear', smooth_iou=True)
