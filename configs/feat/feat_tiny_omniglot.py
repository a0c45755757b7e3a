"""A small FEAT on a part of Omniglot, everything else as in dmf_tiny_omniglot.

Paper: feat (arXiv 1812.03664)
Expect: not measured by us
Run: mim train paperzoo feat_tiny_omniglot.py
"""

from mmengine.config import read_base

with read_base():
    from .feat_tiny_glyphs import *
    from .._base_.datasets.omniglot_small_episodes import *

model.update(num_classes=136)
default_hooks['checkpoint'].update(save_best=None)
val_cfg = None
