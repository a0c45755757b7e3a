"""ProtoNet with the backbone, episodes and schedule of dmf_resnet12.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo protonet_resnet12.py
"""

from mmengine.config import read_base

from paperzoo.dmf import ProtoNet

with read_base():
    from ..dmf_resnet12 import *

model = dict(
    type=ProtoNet,
    data_preprocessor=model['data_preprocessor'],
    backbone=model['backbone'],
    num_classes=64,
)
