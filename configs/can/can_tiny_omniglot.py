"""A small CAN on a part of Omniglot, everything else as in dmf_tiny_omniglot.

Paper: can (arXiv 1910.07677)
Expect: not measured by us
Run: mim train paperzoo can_tiny_omniglot.py
"""

from mmengine.config import read_base

with read_base():
    from .can_tiny_glyphs import *
    from .._base_.datasets.omniglot_small_episodes import *

model.update(num_classes=136)
default_hooks['checkpoint'].update(save_best=None)
val_cfg = None
