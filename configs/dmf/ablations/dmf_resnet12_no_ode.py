"""DMF that applies its filters once, without the flow.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_no_ode.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model['alignment'].update(solver='none')
