"""FEAT on miniImageNet, 5-way 1-shot, with everything else as in dmf_resnet12.

Paper: feat (arXiv 1812.03664)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo feat_resnet12.py
"""

from mmengine.config import read_base

from paperzoo.feat import FEATClassifier

with read_base():
    from .dmf_resnet12 import *

model = dict(
    type=FEATClassifier,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=640,
    num_classes=64,
    scale=1 / 64,
)
