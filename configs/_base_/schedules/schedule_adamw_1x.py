"""12 epochs of AdamW, the backbone at a quarter of the rate; divided after 8 and 11."""

from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from torch.optim import AdamW

with read_base():
    from .schedule_1x import *

param_scheduler[0].update(end=1000)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=0.0001, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.25))),
    clip_grad=dict(max_norm=1, norm_type=2),
)
