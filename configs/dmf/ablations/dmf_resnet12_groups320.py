"""DMF with 320 groups of channels instead of 64.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_groups320.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model['meta_filter'].update(groups=320)
