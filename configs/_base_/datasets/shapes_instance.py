"""The built-in Shapes set, boxes and masks, at 256x192: generated on first use."""

from mmengine.config import read_base

from mmdet.datasets.transforms import RandomFlip, Resize

with read_base():
    from .shapes_detection import *

scale = (256, 192)
train_pipeline[1].update(with_mask=True)
train_pipeline[2:3] = [
    dict(type=Resize, scale=scale, keep_ratio=True),
    dict(
        type=RandomFlip,
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
]
test_pipeline[1].update(scale=scale)
test_pipeline[2].update(with_mask=True)
train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader['dataset'].update(pipeline=train_pipeline)
val_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader['dataset'].update(pipeline=test_pipeline)
test_dataloader = val_dataloader

val_evaluator.update(metric='segm')
test_evaluator = val_evaluator
