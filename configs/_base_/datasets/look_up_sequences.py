"""Keys, values and a question: 8000 / 500 / 1000 generated sets."""

from mmengine.config import read_base

from paperzoo.data.sequences import LookUpDataset

with read_base():
    from .seen_before_sequences import *

train_dataloader['dataset'].update(type=LookUpDataset)
val_dataloader['dataset'].update(type=LookUpDataset)
test_dataloader['dataset'].update(type=LookUpDataset)
