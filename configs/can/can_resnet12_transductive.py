"""CAN whose supports grow by confident queries, as in can_resnet12 else.

Paper: can (arXiv 1910.07677), "Transductive Inference"
Expect: no number of the paper for this training; not measured by us
Run: mim train paperzoo can_resnet12_transductive.py
"""

from mmengine.config import read_base

with read_base():
    from ..can_resnet12 import *

model.update(transductive_rounds=2)
