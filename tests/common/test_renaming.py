"""Models that take other names when they load stay models like all others."""

import copy
import pickle

import pytest
import torch
from torch import nn

from paperzoo.apis.build import build_model
from paperzoo.apis.config import load_config
from paperzoo.common import rename_on_load, renamed_keys


def renaming() -> nn.Module:
    model = nn.Sequential(nn.Linear(1, 1))
    rename_on_load(model, {'linear': '0'})
    return model


@pytest.mark.parametrize(
    'again', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_renames_too(again) -> None:
    model = again(renaming())
    state = {'linear.weight': torch.ones(1, 1), 'linear.bias': torch.ones(1)}
    model.load_state_dict(state)
    assert model[0].weight == 1
    assert list(renamed_keys(model, state)) == ['0.weight', '0.bias']


@pytest.mark.parametrize(
    'name',
    ['knet_tiny_shapes_instance', 'knet_tiny_shapes_semantic', 'dmf_tiny_glyphs'],
)
def test_models_can_be_sent_to_another_process(name: str) -> None:
    model = build_model(load_config(name), 'cpu')
    sent = pickle.loads(pickle.dumps(model))
    ours, theirs = model.state_dict(), sent.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
