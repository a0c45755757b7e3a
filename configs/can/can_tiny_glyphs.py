"""A small CAN on Glyphs, everything else as in dmf_tiny_glyphs.

Paper: can (arXiv 1910.07677)
Expect: not measured at this length; benchmarks/results/few_shot_claims.md has a quarter
Run: mim train paperzoo can_tiny_glyphs.py
"""

from mmengine.config import read_base

from paperzoo.can import CANClassifier

with read_base():
    from ..dmf.dmf_tiny_glyphs import *

model = dict(
    type=CANClassifier,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    positions=49,
    num_classes=200,
    meta_weight=0.5,
)
