"""AdamW with a cosine, for small few-shot models; 6 epochs unless changed."""

from mmengine.config import read_base

from paperzoo.engine import EpisodeTestLoop, EpisodeValLoop

with read_base():
    from .schedule_scratch import *

max_epochs = 6
train_cfg.update(max_epochs=max_epochs, val_interval=2)
val_cfg = dict(type=EpisodeValLoop)
test_cfg = dict(type=EpisodeTestLoop)
param_scheduler[0].update(end=20)
param_scheduler[1].update(end=max_epochs)
optim_wrapper['optimizer'].update(lr=0.003)
custom_hooks = []
