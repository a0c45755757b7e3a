"""Channels-last changes the memory of a model, not its numbers."""

import torch
from fake_runner import FakeRunner
from torch import nn

from paperzoo.engine import ChannelsLastHook


def test_output_and_gradient_stay_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    images = torch.randn(2, 3, 9, 11)
    plain = model(images)
    plain.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    ChannelsLastHook().before_run(FakeRunner(model=model))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    last = model(images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    last.square().sum().backward()
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
    for parameter, expected in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-3)
