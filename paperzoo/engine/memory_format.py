"""Channels-last memory for the convolutions of a model."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from paperzoo.registry import HOOKS

# oneDNN's block of channels with AVX-512, its widest; others have smaller ones.
_BLOCK = 16


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the weights of convolutions with the channels last; features follow.

    The numbers stay the same up to rounding; some processors run convolutions faster.

    Strided 1x1 convolutions of few channels stay as they are, and so does what goes
    into them on a CPU: with the channels last oneDNN writes beyond its memory in their
    backward pass (https://github.com/uxlfoundation/oneDNN/issues/6035).

    Example:
        >>> type(HOOKS.build(dict(type='paperzoo.ChannelsLastHook'))).__name__
        'ChannelsLastHook'
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the model before anything runs through it."""
        keep_channels_last(runner.model)


def keep_channels_last(model: nn.Module) -> None:
    """Put the channels of a model's weights last; see `ChannelsLastHook`.

    Args:
        model: Changes.

    Example:
        >>> import torch
        >>> from paperzoo.engine.memory_format import keep_channels_last
        >>> convolution = torch.nn.Conv2d(16, 8, 3)
        >>> keep_channels_last(convolution)
        >>> convolution.weight.stride()
        (144, 1, 48, 16)
    """
    converted: Any = model
    converted.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _crashes(module):
            # A 1x1 weight counts as contiguous either way: only a copy is.
            plain = torch.empty_like(
                module.weight.data, memory_format=torch.contiguous_format
            )
            module.weight.data = plain.copy_(module.weight.data)
            module.register_forward_pre_hook(_contiguous)


def _crashes(convolution: nn.Conv2d) -> bool:
    return (
        tuple(convolution.kernel_size) == (1, 1)
        and max(convolution.stride) > 1
        and convolution.in_channels // convolution.groups < _BLOCK
    )


def _contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    features, *others = inputs
    if features.device.type != 'cpu':
        return None
    return features.contiguous(), *others
