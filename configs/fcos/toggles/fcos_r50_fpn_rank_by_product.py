"""FCOS whose candidates are ranked by class score times centre-ness.

Paper: fcos (arXiv 1904.01355)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_rank_by_product.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['test_cfg'].update(rank_by='product')
