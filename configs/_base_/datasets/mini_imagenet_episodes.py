"""miniImageNet, 64 / 16 / 20 classes, as a table per split and a folder of images."""

from mmengine.dataset import DefaultSampler, default_collate

from paperzoo.data.episodes import EpisodeDataset, EpisodeSampler
from paperzoo.data.few_shot_transforms import (
    ImageCenterCrop,
    ImageColorJitter,
    ImageRandomCrop,
    ImageRandomErasing,
    ImageRandomFlip,
    ImageResize,
)
from paperzoo.evaluation.few_shot import FewShotAccuracy

train_pipeline = [
    dict(type=ImageResize, size=84),
    dict(type=ImageRandomCrop, size=84, padding=8),
    dict(type=ImageColorJitter, strength=0.4),
    dict(type=ImageRandomFlip),
    dict(type=ImageRandomErasing, prob=0.5),
]
test_pipeline = [dict(type=ImageResize, size=84), dict(type=ImageCenterCrop, size=84)]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=EpisodeSampler),
    dataset=dict(
        type=EpisodeDataset,
        data_root='data/mini_imagenet/',
        split='train',
        layout='csv',
        ways=5,
        shots=1,
        queries=6,
        episodes=1200,
        pipeline=train_pipeline,
        disjoint_from=['val', 'test'],
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=EpisodeDataset,
        data_root='data/mini_imagenet/',
        split='val',
        layout='csv',
        ways=5,
        shots=1,
        queries=15,
        episodes=600,
        pipeline=test_pipeline,
        disjoint_from=['train', 'test'],
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=EpisodeDataset,
        data_root='data/mini_imagenet/',
        split='test',
        layout='csv',
        ways=5,
        shots=1,
        queries=15,
        # 10000 for a narrower interval, as some papers.
        episodes=2000,
        pipeline=test_pipeline,
        disjoint_from=['train', 'val'],
        test_mode=True,
    ),
)
val_evaluator = dict(type=FewShotAccuracy, split='val')
test_evaluator = dict(type=FewShotAccuracy, split='test')
