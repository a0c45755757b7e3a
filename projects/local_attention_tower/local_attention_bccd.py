"""A small FCOS on real blood cells, the last layer of each tower local self-attention.

Paper: local-attention "Replacing Spatial Convolutions", in the head of fcos
Expect: the table in README.md, which also says how to run it
Run: paperzoo train projects/local_attention_tower/local_attention_bccd.py
"""

from mmengine.config import read_base

from projects.local_attention_tower.head import MixedTowerFCOSHead
from projects.local_attention_tower.peak_memory import PeakMemoryHook

with read_base():
    from ...configs.fcos.fcos_r18_fpn_bccd import *

attention = dict(type='paperzoo.LocalSelfAttention2d', num_heads=8)
model['bbox_head'].update(type=MixedTowerFCOSHead, conv_cfgs=[None, attention])
custom_hooks.append(dict(type=PeakMemoryHook))

max_epochs = 7
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)
