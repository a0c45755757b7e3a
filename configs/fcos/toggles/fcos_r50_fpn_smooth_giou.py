"""FCOS with the authors' GIoU loss.

The authors add 1 to intersection and union; mmdet does not.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_smooth_giou.py
"""

from mmengine.config import read_base

from paperzoo.fcos import GIoULoss

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, smooth_iou=True, loss_weight=1.0)
