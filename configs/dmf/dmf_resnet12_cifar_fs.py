"""DMF on CIFAR-FS, 5-way 1-shot, maps of 8x8 from images of 32x32.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper, which does not use this data; not measured by us
Run: mim train paperzoo dmf_resnet12_cifar_fs.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *
    from .._base_.datasets.cifar_fs_episodes import *

# Two poolings instead of three leave something to align.
model['backbone'].update(pools=(True, True, False, False))
