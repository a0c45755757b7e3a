"""FCOS with weight-standardised convolutions in the towers: any `conv_cfg` fits.

Paper: fcos (arXiv 1904.01355)
Expect: our own ablation, the authors have none; not measured by us
Run: mim train paperzoo fcos_r50_fpn_conv_ws.py
Differs: the paper has plain convolutions.
"""

from mmengine.config import read_base

with read_base():
    from ...fcos_r50_fpn import *

model['bbox_head'].update(conv_cfg=dict(type='ConvWS'))
