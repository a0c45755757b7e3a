"""FCOS in real time: three levels, short side 512, ResNet-50, 4x.

Paper: fcos-journal (arXiv 2006.09214)
Expect: box AP 40.2 on COCO (the authors' R_50_4x in AdelaiDet); not measured by us
Run: mim train paperzoo fcos_rt_r50_fpn.py
Differs: short side 256 to 608 in training is our choice of the range.
"""

from mmcv.transforms import RandomResize
from mmengine.config import read_base

with read_base():
    from .fcos_imprv_r50_fpn import *

model['neck'].update(num_outs=3, add_extra_convs=False)
model['bbox_head'].update(
    strides=[8, 16, 32], regress_ranges=((-1, 64), (64, 128), (128, 1e8))
)

train_pipeline[2] = dict(
    type=RandomResize, scale=[(900, 256), (900, 608)], keep_ratio=True
)
test_pipeline[1].update(scale=(736, 512))
train_dataloader['dataset'].update(pipeline=train_pipeline)
val_dataloader['dataset'].update(pipeline=test_pipeline)
test_dataloader = val_dataloader

max_epochs = 48
train_cfg.update(max_epochs=max_epochs)
param_scheduler[1].update(end=max_epochs, milestones=[40, 45])
