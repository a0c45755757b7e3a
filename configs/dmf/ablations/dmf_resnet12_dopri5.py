"""DMF whose flow takes as many steps as the episode needs.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_dopri5.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model['alignment'].update(solver='dopri5', rtol=0.01, atol=0.01)
