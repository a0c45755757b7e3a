"""Omniglot as its authors ship it: 964 characters, and 659 of new alphabets."""

from mmengine.config import read_base

from paperzoo.data.few_shot_transforms import ImageRandomCrop, ImageResize

with read_base():
    from .mini_imagenet_episodes import *

folders = dict(
    data_root='data/omniglot/',
    layout='folders',
    img_path='images_{split}',
    in_memory=True,
)
train_pipeline = [
    dict(type=ImageResize, size=28),
    dict(type=ImageRandomCrop, size=28, padding=2, fill=255),
]
test_pipeline = [dict(type=ImageResize, size=28)]
train_dataloader['dataset'].update(
    split='background',
    pipeline=train_pipeline,
    disjoint_from=['evaluation'],
    **folders,
)
test_dataloader['dataset'].update(
    split='evaluation',
    pipeline=test_pipeline,
    disjoint_from=['background'],
    **folders,
)
test_evaluator.update(split='evaluation')
# There is no third split: the test is no place to choose a checkpoint.
val_dataloader = None
val_evaluator = None
