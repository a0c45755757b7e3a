"""A classifier's nearest prototype; everything else as in dmf_resnet12.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo nearest_prototype_resnet12.py
"""

from mmengine.config import read_base

from paperzoo.dmf import NearestPrototype

with read_base():
    from ..dmf_resnet12 import *

model = dict(
    type=NearestPrototype,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    num_classes=64,
)
