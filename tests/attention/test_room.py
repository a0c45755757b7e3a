"""The room: what it offers, and what it does without."""

from own_process import python

import paperzoo.attention

PROGRAM = """
import sys
for missing in ('mmcv', 'mmdet', 'mmseg', 'torchdiffeq'):
    sys.modules[missing] = None
from mmengine.registry import MODELS
sizes = dict(embed_dims=8, num_heads=2)
layer = dict(sizes, feedforward_channels=8)
map = dict(in_channels=4, out_channels=4, kernel_size=3, num_heads=2)
for name, arguments in {
    'MultiHeadSelfAttention': sizes,
    'TransformerEncoderLayer': layer,
    'TransformerEncoder': dict(layer, num_layers=2),
    'SinePositionalEncoding': dict(num_feats=4),
    'LocalSelfAttention2d': map,
}.items():
    built = MODELS.build(dict(type='paperzoo.' + name, **arguments))
    assert type(built).__name__ == name
"""


def test_every_name_is_there() -> None:
    for name in dir(paperzoo.attention):
        assert getattr(paperzoo.attention, name).__name__ == name


def test_mmengine_is_enough() -> None:
    python(PROGRAM)
