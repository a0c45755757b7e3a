"""A label for a set: the value of the key that is asked for. A minute on a CPU core.

Paper: attention (arXiv 1706.03762)
Expect: 99.8 % of the labels are right (3 seeds); no paper uses this data
Run: mim train paperzoo attention_set_classification.py
"""

from mmengine.config import read_base

from paperzoo.attention import TransformerEncoder
from paperzoo.attention.sequence_models import SetClassifier

with read_base():
    from .._base_.default_runtime_sequences import *
    from .._base_.datasets.look_up_sequences import *
    from .._base_.schedules.schedule_sequences import *

model = dict(
    type=SetClassifier,
    embed_dims=64,
    in_channels=13,
    num_classes=4,
    encoder=dict(
        type=TransformerEncoder,
        num_layers=2,
        num_heads=4,
        feedforward_channels=128,
        dropout=0.0,
        pre_norm=True,
    ),
)
