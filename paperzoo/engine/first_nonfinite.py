"""The first place of a training step where a number is NaN or infinite."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors in nested containers and data elements.

    Args:
        value: Inputs or outputs of a module.
    """
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors_in(inner)
    elif hasattr(value, 'all_items'):
        for _, inner in value.all_items():
            yield from _tensors_in(inner)


def _all_finite(value: Any) -> bool:
    """Return whether no number in nested containers is NaN or infinite.

    Args:
        value: Inputs or outputs of a module.
    """
    return all(bool(tensor.isfinite().all()) for tensor in _tensors_in(value))


def _describe(value: Any) -> str:
    """Return what is in the tensors of a value: how many NaN, inf, and how large.

    Args:
        value: Inputs or outputs of a module.
    """
    flat = [tensor.detach().float().flatten().cpu() for tensor in _tensors_in(value)]
    if not flat:
        return 'no numbers'
    numbers = torch.cat(flat)
    finite = numbers[numbers.isfinite()]
    largest = f'{finite.abs().max():.4g}' if finite.numel() else 'none'
    nans, infinite = int(numbers.isnan().sum()), int(numbers.isinf().sum())
    return (
        f'{nans} NaN and {infinite} inf of {numbers.numel()} numbers, '
        f'the largest finite one {largest}'
    )


def bad_weights(model: nn.Module) -> list[str]:
    """Return the names of the weights with a NaN or infinite number.

    Args:
        model: The model.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> _ = nn.init.constant_(layer.bias, torch.nan)
        >>> bad_weights(layer)
        ['bias']
    """
    return [
        name for name, weight in model.named_parameters() if not _all_finite(weight)
    ]


@contextmanager
def watch(model: nn.Module) -> Iterator[list[str]]:
    """Note the first module whose output is not finite, in the order of the forward.

    An inner module ends before the one that holds it: the first is the innermost.

    Args:
        model: The model, run inside the context.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
        >>> with watch(model) as found:
        ...     _ = model(torch.tensor([[torch.inf]]))
        >>> found[0].partition(':')[0]
        '0 (Linear)'
    """
    found: list[str] = []
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, inputs: Any, given: dict, output: Any) -> None:
        if found or _all_finite(output):
            return
        came_in = (inputs, given)
        found.append(
            f'{names[module] or "the model itself"} ({type(module).__name__}): '
            f'its output has {_describe(output)}; its input had {_describe(came_in)}'
        )

    hooks = [
        module.register_forward_hook(look, with_kwargs=True)
        for module in model.modules()
        if module is not model
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def diagnose(losses: Mapping[str, Any], layers: list[str], weights: list[str]) -> str:
    """Return a paragraph on what went first.

    Args:
        losses: Of the step that was run again.
        layers: What `watch` noted.
        weights: What `bad_weights` returned.

    Example:
        >>> print(diagnose({'loss_cls': torch.tensor(torch.nan)}, [], []))
          losses that are not finite: loss_cls
          all layers are finite: the loss function of loss_cls is at fault
    """
    bad = [name for name, value in losses.items() if not _all_finite(value)]
    lines = []
    if weights:
        lines.append(
            f'{len(weights)} weights were not finite before the step, first of them '
            f'{weights[0]}: an earlier step had a finite loss but gradients that were '
            'not, or the checkpoint is broken'
        )
    if layers:
        lines.append(f'first layer: {layers[0]}')
    if bad:
        lines.append(f'losses that are not finite: {", ".join(bad)}')
    if bad and not layers:
        lines.append(
            f'all layers are finite: the loss function of {bad[0]} is at fault'
        )
    if not lines:
        lines.append(
            'run again, the same step is finite: the operations of this device do not '
            'repeat exactly, or the gradients of several steps were added'
        )
    return '\n'.join(f'  {line}' for line in lines)
