"""A small K-Net for everything on the built-in Shapes set, minutes on two CPU cores.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 49.3 on Shapes, mean of 2 seeds
    (benchmarks/results/knet_shapes_panoptic.json)
Run: mim train paperzoo knet_tiny_shapes_panoptic.py
"""

from mmengine.config import read_base

from paperzoo.knet import RankLoss

with read_base():
    from .knet_tiny_shapes_instance import *
    from .._base_.datasets.shapes_panoptic import *

model['rpn_head'].update(
    num_classes=10,
    num_stuff_classes=3,
    cat_stuff_mask=True,
    loss_rank=dict(type=RankLoss, loss_weight=0.1),
)
model['roi_head'].update(num_stuff_classes=3, do_panoptic=True)
model['roi_head']['mask_head'].update(
    num_classes=10,
    num_stuff_classes=3,
    loss_rank=dict(type=RankLoss, loss_weight=0.1),
)
model['test_cfg'] = dict(
    rcnn=dict(merge_stuff_thing=dict(instance_score_thr=0.2, overlap_thr=0.6))
)
