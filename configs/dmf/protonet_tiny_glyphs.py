"""ProtoNet with the backbone, episodes and schedule of dmf_tiny_glyphs.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 97.1 on Glyphs, ours, 3 seeds; the paper does not use it
Run: mim train paperzoo protonet_tiny_glyphs.py
"""

from mmengine.config import read_base

from paperzoo.dmf import ProtoNet

with read_base():
    from .dmf_tiny_glyphs import *

model = dict(
    type=ProtoNet,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    num_classes=200,
)
