"""A small K-Net on Shapes: boxes around its masks; AP also by occlusion.

Paper: none; a question to fcos (arXiv 1904.01355), answered with knet (2106.14855)
Expect: the table in README.md, which also says how to run it
Run: paperzoo train projects/box_from_mask/box_from_mask_knet_shapes.py
"""

from mmengine.config import read_base

from projects.box_from_mask.occlusion import OcclusionBoxMetric

with read_base():
    from ...configs.knet.knet_tiny_shapes_instance import *

val_evaluator = dict(type=OcclusionBoxMetric, ann_file=val_evaluator['ann_file'])
test_evaluator = val_evaluator

# A step takes longer than FCOS's, which has 11 epochs: the table has both times.
max_epochs = 10
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)
