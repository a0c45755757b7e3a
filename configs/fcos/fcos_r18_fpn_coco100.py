"""FCOS, ResNet-18, FPN on 100 real COCO images at 384 pixels, from scratch.

Paper: fcos (arXiv 1904.01355)
Expect: no useful AP: 100 images from scratch show that it runs, nothing more
Run: PAPERZOO_DATA=FOLDER_OF_coco100 mim train paperzoo fcos_r18_fpn_coco100.py
"""

from mmengine.config import read_base

with read_base():
    from ..fcos_r50_fpn import *

model['backbone'].update(
    depth=18,
    frozen_stages=-1,
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=False,
    init_cfg=None,
)
model['neck'].update(in_channels=[64, 128, 256, 512])

data_root = 'data/coco100/'
train_pipeline[2].update(scale=(384, 384))
test_pipeline[1].update(scale=(384, 384))
train_dataloader.update(batch_size=4)
train_dataloader['dataset'].update(data_root=data_root, pipeline=train_pipeline)
val_dataloader.update(batch_size=4)
val_dataloader['dataset'].update(data_root=data_root, pipeline=test_pipeline)
test_dataloader = val_dataloader
val_evaluator.update(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

default_hooks['logger'].update(interval=5)
param_scheduler[0].update(end=50)
