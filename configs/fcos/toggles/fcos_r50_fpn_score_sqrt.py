"""FCOS whose score is the root of class score times centre-ness.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_score_sqrt.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['test_cfg'].update(score_mode='sqrt')
