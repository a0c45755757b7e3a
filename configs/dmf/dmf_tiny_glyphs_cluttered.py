"""A small DMF on cluttered Glyphs: drawings anywhere among strokes of no class.

Paper: dmf (arXiv 2103.13582)
Expect: not measured at this length; benchmarks/results/few_shot_claims.md has a quarter
Run: mim train paperzoo dmf_tiny_glyphs_cluttered.py
"""

from mmengine.config import read_base

with read_base():
    from .dmf_tiny_glyphs import *
    from .._base_.datasets.glyphs_cluttered_episodes import *
