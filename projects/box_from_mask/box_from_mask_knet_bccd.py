"""A small K-Net on real blood cells, taught ellipses: boxes around its masks.

Paper: none; a question to fcos (arXiv 1904.01355), answered with knet (2106.14855)
Expect: the table in README.md, which also says how to run it
Run: paperzoo train projects/box_from_mask/box_from_mask_knet_bccd.py
"""

from mmengine.config import read_base

from projects.box_from_mask.ellipses import EllipsesAsMasks
from projects.box_from_mask.occlusion import OcclusionBoxMetric

with read_base():
    from ...configs.knet.knet_tiny_shapes_instance import *
    from ...configs._base_.datasets.bccd_detection import *

model['backbone'].update(base_channels=32)
model['neck'].update(in_channels=[32, 64, 128, 256])
model['rpn_head'].update(num_proposals=40, num_classes=3)
model['roi_head'].update(num_proposals=40, num_thing_classes=3)
model['roi_head']['mask_head'].update(num_classes=3)
model['test_cfg']['rcnn'].update(max_per_img=100)

train_pipeline.insert(2, dict(type=EllipsesAsMasks))
train_dataloader['dataset'].update(pipeline=train_pipeline)
train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
val_evaluator = dict(type=OcclusionBoxMetric, ann_file=val_evaluator['ann_file'])
test_evaluator = val_evaluator

# A step takes longer than FCOS's, which has 9 epochs: the table has both times.
max_epochs = 8
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)
