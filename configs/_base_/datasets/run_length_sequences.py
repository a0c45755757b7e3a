"""Run lengths, decoded: 8000 / 500 / 1000 generated pairs of sequences."""

from mmengine.config import read_base

from paperzoo.data.sequences import RunLengthDataset

with read_base():
    from .seen_before_sequences import *

train_dataloader['dataset'].update(type=RunLengthDataset)
val_dataloader['dataset'].update(type=RunLengthDataset)
test_dataloader['dataset'].update(type=RunLengthDataset)
