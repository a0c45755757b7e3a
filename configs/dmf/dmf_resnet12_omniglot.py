"""DMF on Omniglot, 5-way 1-shot, at 28x28.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper, which does not use this data; not measured by us
Run: mim train paperzoo dmf_resnet12_omniglot.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *
    from .._base_.datasets.omniglot_episodes import *

model.update(num_classes=964)
model['backbone'].update(pools=(True, True, False, False))
model['data_preprocessor'].update(mean=[235.0] * 3, std=[60.0] * 3)
default_hooks['checkpoint'].update(save_best=None)
val_cfg = None
