"""CAN on miniImageNet, 5-way 5-shot.

Paper: can (arXiv 1910.07677)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo can_resnet12_5shot.py
"""

from mmengine.config import read_base

with read_base():
    from ..can_resnet12 import *

train_dataloader['dataset'].update(shots=5)
val_dataloader['dataset'].update(shots=5)
test_dataloader['dataset'].update(shots=5)
