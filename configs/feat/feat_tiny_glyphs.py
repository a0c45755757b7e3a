"""A small FEAT on Glyphs, everything else as in dmf_tiny_glyphs.

Paper: feat (arXiv 1812.03664)
Expect: not measured at this length; benchmarks/results/few_shot_claims.md has a quarter
Run: mim train paperzoo feat_tiny_glyphs.py
"""

from mmengine.config import read_base

from paperzoo.feat import FEATClassifier

with read_base():
    from ..dmf.dmf_tiny_glyphs import *

model = dict(
    type=FEATClassifier,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    num_classes=200,
)
