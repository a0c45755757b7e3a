"""A label for each token: was it there before? A minute on a CPU core.

Paper: attention (arXiv 1706.03762)
Expect: 99.5 % of the labels are right (3 seeds); no paper uses this data
Run: mim train paperzoo attention_tagging.py
"""

from mmengine.config import read_base

from paperzoo.attention import TransformerEncoder
from paperzoo.attention.sequence_models import SequenceTagger

with read_base():
    from .._base_.default_runtime_sequences import *
    from .._base_.datasets.seen_before_sequences import *
    from .._base_.schedules.schedule_sequences import *

model = dict(
    type=SequenceTagger,
    embed_dims=64,
    num_tokens=16,
    num_classes=2,
    encoder=dict(
        type=TransformerEncoder,
        num_layers=2,
        num_heads=4,
        feedforward_channels=128,
        dropout=0.0,
        pre_norm=True,
    ),
)
