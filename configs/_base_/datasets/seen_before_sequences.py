"""Tokens, and whether each was there before: 8000 / 500 / 1000 generated sequences."""

from mmengine.dataset import DefaultSampler

from paperzoo.data.sequences import SeenBeforeDataset, pad_collate
from paperzoo.evaluation.sequences import SequenceAccuracy

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type=pad_collate),
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=SeenBeforeDataset, split='train', num=8000),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    collate_fn=dict(type=pad_collate),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=SeenBeforeDataset, split='val', num=500),
)
test_dataloader = dict(
    batch_size=250,
    num_workers=0,
    collate_fn=dict(type=pad_collate),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=SeenBeforeDataset, split='test', num=1000),
)
val_evaluator = dict(type=SequenceAccuracy)
test_evaluator = dict(type=SequenceAccuracy)
