"""COCO 2017 boxes and masks, short side 800, long side at most 1333, flipped."""

from mmengine.config import read_base

with read_base():
    from .coco_detection import *

train_pipeline[1].update(with_mask=True)
test_pipeline[2].update(with_mask=True)
train_dataloader['dataset'].update(pipeline=train_pipeline)
val_dataloader['dataset'].update(pipeline=test_pipeline)
test_dataloader = val_dataloader

val_evaluator.update(metric='segm')
test_evaluator = val_evaluator
