"""A small FCOS on real blood cells: boxes are regressed; AP also by overlap.

Paper: none; a question to fcos (arXiv 1904.01355)
Expect: the table in README.md, which also says how to run it
Run: paperzoo train projects/box_from_mask/box_from_mask_fcos_bccd.py
"""

from mmengine.config import read_base

from projects.box_from_mask.occlusion import OcclusionBoxMetric

with read_base():
    from ...configs.fcos.fcos_r18_fpn_bccd import *

# As K-Net has it: it needs fine textures.
model['backbone'].update(deep_stem=True, stem_channels=24)

val_evaluator = dict(type=OcclusionBoxMetric, ann_file=val_evaluator['ann_file'])
test_evaluator = val_evaluator

max_epochs = 9
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)
