"""ProtoNet with everything else as in dmf_tiny_glyphs_cluttered.

Paper: dmf (arXiv 2103.13582)
Expect: not measured at this length; benchmarks/results/few_shot_claims.md has a quarter
Run: mim train paperzoo protonet_tiny_glyphs_cluttered.py
"""

from mmengine.config import read_base

with read_base():
    from .protonet_tiny_glyphs import *
    from .._base_.datasets.glyphs_cluttered_episodes import *
