"""DMF whose flow is solved by the midpoint rule.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_midpoint.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model['alignment'].update(solver='midpoint')
