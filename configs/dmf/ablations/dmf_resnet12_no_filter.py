"""DMF without its meta-filter: queries are compared as they are.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_no_filter.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model.update(meta_filter=None)
