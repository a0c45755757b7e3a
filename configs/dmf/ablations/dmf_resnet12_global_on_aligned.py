"""DMF whose global classifier sees aligned queries, as in the paper's figure.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_global_on_aligned.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model.update(global_on_aligned=True)
