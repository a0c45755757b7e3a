"""ProtoNet with the backbone, episodes and schedule of dmf_tiny_omniglot.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 87.9 on a part of Omniglot, ours, one seed; the paper does not use it
Run: mim train paperzoo protonet_tiny_omniglot.py
"""

from mmengine.config import read_base

from paperzoo.dmf import ProtoNet

with read_base():
    from .dmf_tiny_omniglot import *

model = dict(
    type=ProtoNet,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    feat_channels=64,
    num_classes=136,
)
