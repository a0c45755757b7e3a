"""A small FCOS on real blood cells whose neighbours shall agree: penalty and voting.

Paper: none; a question to fcos (arXiv 1904.01355)
Expect: the table in README.md, which also says how to run it
Run: paperzoo train projects/smooth_targets/smooth_targets_bccd.py
"""

from mmengine.config import read_base

from projects.smooth_targets.head import SmoothFCOSHead

with read_base():
    from ...configs.fcos.fcos_r18_fpn_bccd import *

model['bbox_head'].update(type=SmoothFCOSHead, smooth_weight=1.0, voting=0.6)

max_epochs = 7
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)
