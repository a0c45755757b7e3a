"""FCOS with the area of a box as the authors measure it: (w + 1)(h + 1).

Paper: fcos (arXiv 1904.01355)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_authors_area.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(area_convention='authors')
