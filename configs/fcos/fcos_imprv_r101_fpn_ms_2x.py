"""FCOS with the authors' improvements, ResNet-101, FPN, multi-scale, 2x.

Paper: fcos-journal (arXiv 2006.09214)
Expect: box AP 43.0 on COCO (the authors' fcos_imprv_R_101_FPN_2x); not measured by us
Run: mim train paperzoo fcos_imprv_r101_fpn_ms_2x.py
"""

from mmengine.config import read_base

from paperzoo.fcos import GIoULoss

with read_base():
    from .fcos_r101_fpn_ms_2x import *

model['bbox_head'].update(
    center_sampling=True, norm_on_bbox=True, centerness_on_reg=True
)
model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)
