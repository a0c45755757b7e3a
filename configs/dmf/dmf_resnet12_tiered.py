"""DMF on tieredImageNet, 5-way 1-shot, 85 epochs of 13 980 episodes.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 71.89 +- 0.52 on tieredImageNet 1-shot (the paper); not measured by us
Run: mim train paperzoo dmf_resnet12_tiered.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *
    from .._base_.datasets.tiered_imagenet_episodes import *

model.update(num_classes=351)
train_cfg.update(max_epochs=85)
param_scheduler[1].update(end=85)
optim_wrapper['optimizer'].update(lr=0.05)
