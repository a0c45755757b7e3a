"""FCOS, ResNet-50, FPN: short side 640 to 800, twice as long.

Paper: fcos (arXiv 1904.01355)
Expect: the authors name no number for ResNet-50; mmdet 3.3's own training has 38.5
Run: mim train paperzoo fcos_r50_fpn_ms_2x.py
"""

from mmcv.transforms import RandomResize
from mmengine.config import read_base

with read_base():
    from ..fcos_r50_fpn import *

train_pipeline[2] = dict(
    type=RandomResize, scale=[(1333, 640), (1333, 800)], keep_ratio=True
)
train_dataloader['dataset'].update(pipeline=train_pipeline)

max_epochs = 24
train_cfg.update(max_epochs=max_epochs)
param_scheduler[1].update(end=max_epochs, milestones=[16, 22])
