"""DMF on a part of CIFAR-FS, for a GPU and a few minutes.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper, which does not use this data; not measured yet
Run: mim train paperzoo dmf_resnet12_cifar_fs_lite.py
"""

from mmengine.config import read_base

with read_base():
    from .dmf_resnet12_cifar_fs import *
    from .._base_.datasets.cifar_fs_lite_episodes import *
    from .._base_.schedules.schedule_episodes_scratch import *

model['backbone'].update(ramp=3000)
max_epochs = 12
train_cfg.update(max_epochs=max_epochs, val_interval=3)
param_scheduler[1].update(end=max_epochs)
optim_wrapper['optimizer'].update(lr=0.001)
