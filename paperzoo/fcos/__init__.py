"""FCOS: Fully Convolutional One-Stage Object Detection, arXiv 1904.01355.

A detector without anchors: every location of every pyramid level predicts a class, the
distances to the four edges of the box around it, and how central it is in that box.

Files, in the order in which the paper introduces them:
    geometry.py: locations, Eq. 1 (distances to the edges), Eq. 3 (centre-ness).
    assigner.py: which location learns which box ("Multi-level Prediction with FPN").
    losses.py: the box losses and the centre-ness loss of Eq. 2; the focal loss is in
        `paperzoo.common`.
    head.py: the network's head, its targets and its loss (Eq. 2).

Where we differ from the paper: the box loss is weighted by centre-ness (Eq. 2 counts
all positives alike), as the authors' code does. `center_sampling`, `norm_on_bbox`,
`centerness_on_reg` and the GIoU loss are the authors' later improvements; all are off
by default.

Where we follow mmdet 3.3 rather than the authors' code: the area that decides between
boxes is w h, not (w + 1)(h + 1); the IoU has no 1 added to intersection and union; the
score of a detection is class score times centre-ness, without a square root; candidates
are ranked by the class score alone.

Where we differ from mmdet: an exponent cannot overflow to infinity, configs are not
modified, strides may differ between the axes, shapes are static, and images without
objects take the same path as all others.
"""

from paperzoo.fcos.assigner import FCOSRangeAssigner
from paperzoo.fcos.geometry import centerness, decode_ltrb, encode_ltrb, level_points
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.losses import (
    CenternessLoss,
    GIoULoss,
    IoULoss,
    aligned_giou,
    aligned_iou_union,
)

__all__ = [
    'CenternessLoss',
    'FCOSHead',
    'FCOSRangeAssigner',
    'GIoULoss',
    'IoULoss',
    'aligned_giou',
    'aligned_iou_union',
    'centerness',
    'decode_ltrb',
    'encode_ltrb',
    'level_points',
]
