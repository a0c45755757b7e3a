"""CAN on miniImageNet, 5-way 1-shot, with everything else as in dmf_resnet12.

Paper: can (arXiv 1910.07677)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo can_resnet12.py
"""

from mmengine.config import read_base

from paperzoo.can import CANClassifier

with read_base():
    from .dmf_resnet12 import *

model = dict(
    type=CANClassifier,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=640,
    positions=121,
    num_classes=64,
    meta_weight=0.5,
)
