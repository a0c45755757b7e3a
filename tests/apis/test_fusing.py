"""Models for prediction alone: the same results, or the model as it was."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.fusing import fused

CONFIGS = (
    'fcos_tiny_shapes',
    'knet_tiny_shapes_instance',
    'knet_tiny_shapes_panoptic',
    'knet_tiny_shapes_semantic',
    'dmf_tiny_glyphs',
    'protonet_tiny_glyphs',
)


def lively(name: str) -> Any:
    """A model whose batch norms do something."""
    torch.manual_seed(0)
    model = paperzoo.build_model(paperzoo.load_config(name), 'cpu')
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model


@pytest.mark.parametrize('name', CONFIGS)
def test_maps_are_the_same_and_no_batch_norm_is_left(name: str) -> None:
    model = lively(name)
    before = copy.deepcopy(model.state_dict())
    other: Any = fused(model)
    assert other is not model
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    kinds = [type(module) for module in other.backbone.modules()]
    assert nn.BatchNorm2d not in kinds
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = model.backbone(image), other.backbone(image)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


class Crooked(nn.Module):
    """Its batch norm follows a convolution in writing, and not in what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.bn(x).relu())


def test_a_fold_that_would_change_results_is_not_made() -> None:
    model = nn.Module()
    model.backbone = Crooked().eval()
    nn.init.uniform_(model.backbone.bn.running_mean, 1, 2)
    assert fused(model) is model


def test_a_model_that_cannot_be_asked_stays_as_it_is() -> None:
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    assert fused(model) is model
