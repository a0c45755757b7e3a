"""A part of CIFAR-FS: 64 / 16 / 20 classes of 40 / 20 / 60 images, in folders."""

from mmengine.config import read_base

with read_base():
    from .cifar_fs_episodes import *

lite = dict(
    data_root='data/cifar_fs/',
    layout='folders',
    ann_file=None,
    img_path=None,
    in_memory=True,
)
train_dataloader['dataset'].update(**lite)
# 20 images of a class: one support, five for 5-shot, and still enough queries.
val_dataloader['dataset'].update(**lite)
test_dataloader['dataset'].update(**lite)
