"""DMF on tieredImageNet, 5-way 5-shot.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 85.96 +- 0.35 on tieredImageNet 5-shot (the paper); not measured by us
Run: mim train paperzoo dmf_resnet12_tiered_5shot.py
"""

from mmengine.config import read_base

with read_base():
    from .dmf_resnet12_tiered import *

train_dataloader['dataset'].update(shots=5)
val_dataloader['dataset'].update(shots=5)
test_dataloader['dataset'].update(shots=5)
