"""A part of Omniglot: 136 characters of 5 alphabets and 106 of 3 others."""

from mmengine.config import read_base

with read_base():
    from .omniglot_episodes import *

small = dict(data_root='data/omniglot_small/', img_path='{split}')
train_dataloader.update(num_workers=0, persistent_workers=False)
test_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
train_dataloader['dataset'].update(
    split='train', episodes=240, queries=5, disjoint_from=['test'], **small
)
test_dataloader['dataset'].update(split='test', disjoint_from=['train'], **small)
test_evaluator.update(split='test')
