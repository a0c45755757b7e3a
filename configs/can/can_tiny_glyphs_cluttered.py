"""A small CAN on cluttered Glyphs, everything else as in dmf_tiny_glyphs_cluttered.

Paper: can (arXiv 1910.07677)
Expect: not measured by us
Run: mim train paperzoo can_tiny_glyphs_cluttered.py
"""

from mmengine.config import read_base

with read_base():
    from .can_tiny_glyphs import *
    from .._base_.datasets.glyphs_cluttered_episodes import *

model.update(positions=100)
