"""The rooms of few-shot papers: what they offer, and what they do without."""

from importlib import import_module

import pytest
from own_process import python

PROGRAM = """
import sys
for missing in ('mmcv', 'mmdet', 'mmseg', 'torchdiffeq'):
    sys.modules[missing] = None
from mmengine.registry import MODELS
config = dict(type='paperzoo.{}', feat_channels=4, **{})
config['backbone'] = dict(type='paperzoo.ResNet12', widths=(1, 2, 3, 4))
MODELS.build(config)
"""
FILTER = {'type': 'paperzoo.DynamicMetaFilter', 'groups': 2}


@pytest.mark.parametrize('room', ['can', 'dmf', 'feat'])
def test_every_name_is_there(room: str) -> None:
    module = import_module(f'paperzoo.{room}')
    assert dir(module)
    for name in dir(module):
        assert getattr(module, name).__name__ == name


@pytest.mark.parametrize(
    ('model', 'more'),
    [
        pytest.param('CANClassifier', {}, marks=pytest.mark.slow),
        ('DMFClassifier', {'meta_filter': FILTER}),
        pytest.param('FEATClassifier', {}, marks=pytest.mark.slow),
    ],
)
def test_mmengine_is_enough(model: str, more: dict) -> None:
    program = PROGRAM.format(model, more)
    python(program)
