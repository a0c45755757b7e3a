"""FCOS with the authors' improvements, ResNet-50, FPN, 1x.

Centre sampling, distances in strides, centre-ness on the box tower, GIoU.

Paper: fcos-journal (arXiv 2006.09214)
Expect: box AP 38.7 on COCO (the authors' fcos_imprv_R_50_FPN_1x); not measured by us
Run: mim train paperzoo fcos_imprv_r50_fpn.py
"""

from mmengine.config import read_base

from paperzoo.fcos import GIoULoss

with read_base():
    from ..fcos_r50_fpn import *

model['bbox_head'].update(
    center_sampling=True, norm_on_bbox=True, centerness_on_reg=True
)
model['bbox_head']['loss_bbox'] = dict(type=GIoULoss, loss_weight=1.0)
