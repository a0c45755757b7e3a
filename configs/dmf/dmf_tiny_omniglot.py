"""A small DMF on a part of Omniglot, minutes on two CPU cores.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 84.0 on a part of Omniglot, ours, one seed; the paper does not use it
Run: mim train paperzoo dmf_tiny_omniglot.py
"""

from mmengine.config import read_base

with read_base():
    from .dmf_tiny_glyphs import *
    from .._base_.datasets.omniglot_small_episodes import *

model.update(num_classes=136)
default_hooks['checkpoint'].update(save_best=None)
val_cfg = None
