"""K-Net, panoptic, ResNet-18, on 100 real COCO images at 384 pixels, from scratch.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: no useful PQ: 100 images from scratch show that it runs, nothing more
Run: PAPERZOO_DATA=FOLDER_OF_coco100 mim train paperzoo knet_r18_fpn_coco100_panoptic.py
"""

from mmengine.config import read_base

with read_base():
    from ..knet_r50_fpn_panoptic import *

model['backbone'].update(
    depth=18, frozen_stages=-1, norm_eval=False, zero_init_residual=False, init_cfg=None
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
val_evaluator.update(
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/',
)
test_evaluator = val_evaluator

default_hooks['logger'].update(interval=5)
param_scheduler[0].update(end=50)
