"""FCOS with the generalised IoU as box loss.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_giou.py
"""

from mmengine.config import read_base

from paperzoo.fcos import GIoULoss

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)
