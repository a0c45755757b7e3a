"""FCOS whose class loss is divided by a running mean of the positives.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_cls_moving_fg.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(cls_normalizer='moving_fg')
