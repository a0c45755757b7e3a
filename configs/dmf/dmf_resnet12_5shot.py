"""DMF on miniImageNet, 5-way 5-shot.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 82.71 +- 0.31 on miniImageNet 5-shot (the paper); not measured by us
Run: mim train paperzoo dmf_resnet12_5shot.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *

train_dataloader['dataset'].update(shots=5)
val_dataloader['dataset'].update(shots=5)
test_dataloader['dataset'].update(shots=5)
