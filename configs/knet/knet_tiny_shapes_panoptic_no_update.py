"""The small K-Net without kernel updates: an ablation.

No stages: each kernel keeps its first mask and the class of its pixels.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 45.2 on Shapes, mean of 2 seeds
    (benchmarks/results/knet_shapes_panoptic.json)
Run: mim train paperzoo knet_tiny_shapes_panoptic_no_update.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_tiny_shapes_panoptic import *

model['roi_head'].update(num_stages=0)
