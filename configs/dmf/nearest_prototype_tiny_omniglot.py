"""A classifier's nearest prototype; everything else as in dmf_tiny_omniglot.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 83.4 on a part of Omniglot, ours, one seed; the paper does not use it
Run: mim train paperzoo nearest_prototype_tiny_omniglot.py
"""

from mmengine.config import read_base

from paperzoo.dmf import NearestPrototype

with read_base():
    from .dmf_tiny_omniglot import *

model = dict(
    type=NearestPrototype,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    num_classes=136,
)
