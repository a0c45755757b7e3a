"""CUB-200-2011, 100 / 50 / 50 classes, as a table per split and a folder of images."""

from mmengine.config import read_base

with read_base():
    from .mini_imagenet_episodes import *

train_dataloader['dataset'].update(data_root='data/cub/')
val_dataloader['dataset'].update(data_root='data/cub/')
test_dataloader['dataset'].update(data_root='data/cub/')
