"""FCOS whose ambiguous locations take the nearest box, not the smallest.

Paper: fcos (arXiv 1904.01355)
Expect: our own ablation, the authors have none; not measured by us
Run: mim train paperzoo fcos_r50_fpn_ambiguity_nearest.py
Differs: the paper takes the smallest box.
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(ambiguity='nearest')
