"""Glyphs somewhere in an image of 40x40 pixels, among strokes of no class."""

from mmengine.config import read_base

from paperzoo.data.few_shot_transforms import ImageRandomCrop

with read_base():
    from .glyphs_episodes import *

cluttered = dict(data_root='data/glyphs_cluttered/')
train_pipeline = [dict(type=ImageRandomCrop, size=40, padding=2, fill=255)]
train_dataloader['dataset'].update(pipeline=train_pipeline, **cluttered)
val_dataloader['dataset'].update(pipeline=[], **cluttered)
test_dataloader['dataset'].update(pipeline=[], **cluttered)
