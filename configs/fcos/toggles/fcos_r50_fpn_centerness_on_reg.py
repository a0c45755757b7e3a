"""FCOS with the centre-ness branch on the box tower.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_centerness_on_reg.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(centerness_on_reg=True)
