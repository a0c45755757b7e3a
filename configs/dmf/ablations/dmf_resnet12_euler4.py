"""DMF whose flow takes four fixed Euler steps.

Paper: dmf (arXiv 2103.13582)
Expect: no number of the authors that we could check; not measured by us
Run: mim train paperzoo dmf_resnet12_euler4.py
"""

from mmengine.config import read_base

with read_base():
    from ...dmf_resnet12 import *

model['alignment'].update(solver='euler', steps=4)
