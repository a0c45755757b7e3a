"""FCOS whose class loss is divided by the number of all locations.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_cls_all.py
Differs: the weight of 100 is our guess of the usual share of positives.
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

# There are thousands of locations for one positive: the weight makes up for it.
model['bbox_head'].update(cls_normalizer='all')
model['bbox_head']['loss_cls'].update(loss_weight=100.0)
