"""AdamW with a cosine, for small models of sequences; 6 epochs unless changed."""

from mmengine.config import read_base

with read_base():
    from .schedule_scratch import *

max_epochs = 6
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[0].update(end=100)
param_scheduler[1].update(end=max_epochs)
optim_wrapper['optimizer'].update(weight_decay=0.01)
custom_hooks = []
