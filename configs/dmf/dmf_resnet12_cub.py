"""DMF on CUB-200-2011, 5-way 1-shot.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the paper that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_cub.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *
    from .._base_.datasets.cub_episodes import *

model.update(num_classes=100)
