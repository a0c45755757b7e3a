"""CIFAR-FS, 64 / 16 / 20 classes of 600 images at 32x32, as pickles."""

from mmengine.config import read_base

from paperzoo.data.few_shot_transforms import (
    ImageColorJitter,
    ImageRandomCrop,
    ImageRandomErasing,
    ImageRandomFlip,
)

with read_base():
    from .mini_imagenet_episodes import *

pickles = dict(
    data_root='data/CIFAR-FS/', layout='pickle', ann_file='CIFAR_FS_{split}.pickle'
)
train_pipeline = [
    dict(type=ImageRandomCrop, size=32, padding=4),
    dict(type=ImageColorJitter, strength=0.4),
    dict(type=ImageRandomFlip),
    dict(type=ImageRandomErasing, prob=0.5),
]
train_dataloader['dataset'].update(pipeline=train_pipeline, **pickles)
val_dataloader['dataset'].update(pipeline=[], **pickles)
test_dataloader['dataset'].update(pipeline=[], **pickles)
