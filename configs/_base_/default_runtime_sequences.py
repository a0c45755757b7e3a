"""Runtime of models of sequences: log and the last checkpoint."""

from mmengine.config import read_base
from mmengine.hooks import CheckpointHook

with read_base():
    from .default_runtime_episodes import *

default_hooks['checkpoint'] = dict(type=CheckpointHook, interval=1, max_keep_ckpts=1)
