"""Run-length decoding: the model decides when to end. A minute on a CPU core.

Paper: attention (arXiv 1706.03762)
Expect: 95.2 % of the answers are right (3 seeds); no paper uses this data
Run: mim train paperzoo attention_translation.py
"""

from mmengine.config import read_base

from paperzoo.attention import TransformerEncoder
from paperzoo.attention.translator import SequenceTranslator

with read_base():
    from .._base_.default_runtime_sequences import *
    from .._base_.datasets.run_length_sequences import *
    from .._base_.schedules.schedule_sequences import *

stack = dict(
    type=TransformerEncoder,
    num_layers=1,
    num_heads=4,
    feedforward_channels=128,
    dropout=0.0,
    pre_norm=True,
)
model = dict(
    type=SequenceTranslator,
    embed_dims=64,
    num_tokens=12,
    num_targets=9,
    max_length=18,
    encoder=stack,
    decoder=stack,
)

train_cfg.update(max_epochs=12, val_interval=12)
param_scheduler[1].update(end=12)
