"""The small K-Net without kernel updates: an ablation.

No stages: the head of UPerNet alone.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 63.2 on Shapes, one seed
    (benchmarks/results/knet_shapes_semantic.json)
Run: mim train paperzoo knet_tiny_shapes_semantic_no_update.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_tiny_shapes_semantic import *

model['decode_head'].update(num_stages=0)
