"""Channels-last changes the memory of a model, not its numbers."""

import subprocess
import sys
from pathlib import Path

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


def small_strided() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, stride=2, bias=False))


def test_small_strided_convolutions_stay_contiguous() -> None:
    model = small_strided()
    images = torch.randn(2, 3, 34, 34)
    expected = model(images)
    ChannelsLastHook().before_run(FakeRunner(model=model))
    assert model[0].weight.stride() != model[0].weight.contiguous().stride()
    assert model[1].weight.stride() == (8, 1, 1, 1)
    seen: list[torch.Tensor] = []
    model[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    assert model[0](images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert seen[0].is_contiguous()


def test_others_do_not() -> None:
    model = nn.Sequential(
        nn.Conv2d(16, 4, 1, stride=2), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, stride=2)
    )
    ChannelsLastHook().before_run(FakeRunner(model=model))
    assert not any(module._forward_pre_hooks for module in model)
    assert model[2].weight.is_contiguous(memory_format=torch.channels_last)


def test_their_backward_pass_ends(tmp_path: Path) -> None:
    """In a process of its own, which a crash would end; two threads, as at most users.

    Without the mend it crashes, hangs or passes, by what lies behind the memory.
    """
    file = tmp_path / 'run.py'
    file.write_text(
        'import torch\n'
        'from types import SimpleNamespace\n'
        'from torch import nn\n'
        'from paperzoo.engine import ChannelsLastHook\n'
        'torch.set_num_threads(2)\n'
        'for channels in (3, 4, 8):\n'
        '    model = nn.Sequential(nn.Conv2d(channels, 16, 1, stride=2, bias=False))\n'
        '    ChannelsLastHook().before_run(SimpleNamespace(model=model))\n'
        '    images = torch.randn(2, channels, 64, 64)\n'
        '    images = images.contiguous(memory_format=torch.channels_last)\n'
        '    for _ in range(5):\n'
        '        model(images).square().sum().backward()\n'
    )
    subprocess.run([sys.executable, str(file)], check=True, timeout=300)
