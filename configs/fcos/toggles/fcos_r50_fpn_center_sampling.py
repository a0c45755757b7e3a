"""FCOS with centre sampling: only locations near the centre of a box are positive.

Paper: fcos-journal (arXiv 2006.09214)
Expect: no number of the authors for this switch alone; not measured by us
Run: mim train paperzoo fcos_r50_fpn_center_sampling.py
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(center_sampling=True, center_sample_radius=1.5)
