"""The small K-Net without kernel updates: an ablation.

No stages: each kernel keeps its first mask and the class of its pixels.

Paper: knet (arXiv 2106.14855), "Training Instance Kernels"
Expect: mask AP 0.180 on Shapes, one seed
    (benchmarks/results/knet_shapes_instance.json)
Run: mim train paperzoo knet_tiny_shapes_instance_no_update.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_tiny_shapes_instance import *

model['roi_head'].update(num_stages=0)
