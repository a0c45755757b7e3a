"""FEAT on miniImageNet, 5-way 5-shot, with the contrastive loss.

Paper: feat (arXiv 1812.03664)
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo feat_resnet12_5shot.py
"""

from mmengine.config import read_base

with read_base():
    from ..feat_resnet12 import *

model.update(contrastive_weight=0.1)
train_dataloader['dataset'].update(shots=5)
val_dataloader['dataset'].update(shots=5)
test_dataloader['dataset'].update(shots=5)
