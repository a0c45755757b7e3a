"""DMF with the border of zeros around its scores that the authors' code has.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_zero_pad_score.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model.update(zero_pad_score=True)
