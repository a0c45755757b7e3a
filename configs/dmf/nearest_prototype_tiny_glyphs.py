"""A classifier's nearest prototype; everything else as in dmf_tiny_glyphs.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 93.5 on Glyphs, ours, 3 seeds; the paper does not use it
Run: mim train paperzoo nearest_prototype_tiny_glyphs.py
"""

from mmengine.config import read_base

from paperzoo.dmf import NearestPrototype

with read_base():
    from .dmf_tiny_glyphs import *

model = dict(
    type=NearestPrototype,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    num_classes=200,
)
