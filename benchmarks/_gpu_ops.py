"""Operators on a GPU beside compiled ones, for `gpu.py`."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from _mmcv_box_cases import clustered
from _mmcv_cases import pyramid_rois
from torch import Tensor
from torch.testing import assert_close

from paperzoo.compat.mmcv_ext import NAME, StandIn
from paperzoo.ops.deform_conv import deform_conv2d
from paperzoo.ops.nms import nms
from paperzoo.ops.roi_align import roi_align
from paperzoo.ops.torchvision_ops import has_torchvision

Op = Callable[..., Tensor]
Pair = dict[str, Callable[[], Any]]


def compiled() -> tuple[str, Any]:
    """Return the name and the operators of the best peer, or ours on the CPU.

    Returns:
        What has compiled operators, and by name: `nms(boxes, scores, threshold)`,
        `roi_align(image, rois, bins, scale, samples)`, `deform_conv2d(image, offset,
        weight, mask)`.
    """
    if not isinstance(import_module(NAME), StandIn):
        ops = import_module('mmcv.ops')
        return 'compiled mmcv', {
            'nms': lambda *args: ops.nms(*args)[1],
            'roi_align': lambda *args: ops.roi_align(*args, 'avg', True),
            'deform_conv2d': lambda x, offset, weight, mask: (
                ops.modulated_deform_conv2d(
                    x, offset, mask, weight, None, 1, 1, 1, 1, 1
                )
            ),
        }
    if has_torchvision():
        ops = import_module('torchvision.ops')
        return 'torchvision', {
            'nms': ops.nms,
            'roi_align': partial(ops.roi_align, aligned=True),
            'deform_conv2d': lambda x, offset, weight, mask: ops.deform_conv2d(
                x, offset, weight, padding=1, mask=mask
            ),
        }
    return 'ours on the CPU', {name: on_cpu(op) for name, op in ours().items()}


def ours() -> dict[str, Op]:
    """Return our operators, with the arguments that `compiled` names."""
    return {
        'nms': nms,
        'roi_align': roi_align,
        'deform_conv2d': lambda x, offset, weight, mask: deform_conv2d(
            x, offset, weight, padding=1, mask=mask
        ),
    }


def on_cpu(op: Op) -> Op:
    """Return an operator that copies to the CPU and back."""

    def run(*args: Any) -> Tensor:
        down = [one.cpu() if isinstance(one, Tensor) else one for one in args]
        return op(*down).to(args[0].device)

    return run


def without_torchvision(name: str, op: Op) -> Op:
    """Return an operator of ours that does not ask torchvision."""

    def run(*args: Any) -> Tensor:
        module = import_module(f'paperzoo.ops.{name}')
        with mock.patch.object(module, 'call_torchvision', return_value=None):
            return op(*args)

    return run


def inputs(device: str, tiny: bool) -> Iterator[tuple[str, str, tuple]]:
    """Yield what is measured: a name, the operator, its arguments."""
    for count in (30,) if tiny else (1000, 5000):
        boxes, scores = (one.to(device) for one in clustered(count, count // 10, 20))
        yield f'nms of {count} boxes', 'nms', (boxes, scores, 0.6)
    count, channels = (8, 4) if tiny else (1000, 256)
    scale, rois = pyramid_rois(count)[0]
    image = torch.randn(2, channels, 200, 304, device=device)
    name = f'roi_align of {len(rois)} RoIs, {channels} channels'
    yield name, 'roi_align', (image, rois.to(device), 7, scale, 2)
    side = (10, 12) if tiny else (100, 152)
    fan = channels * 9
    shapes = ((2, channels, *side), (2, 18, *side), (channels, channels, 3, 3))
    image, offset, weight = (torch.randn(*one, device=device) for one in shapes)
    mask = torch.rand(2, 9, *side, device=device)
    name = f'deform_conv2d, {channels} channels, {side[0]}x{side[1]}'
    yield name, 'deform_conv2d', (image, offset, weight / fan**0.5, mask)


def pairs(device: str, tiny: bool) -> Iterator[tuple[str, Pair]]:
    """Yield ours beside the peer's.

    Args:
        device: Where.
        tiny: Whether with few boxes and channels.
    """
    peer, theirs = compiled()
    for name, op, args in inputs(device, tiny):
        ways = {'ours': ours()[op]}
        if op != 'deform_conv2d':
            ways['ours without torchvision'] = without_torchvision(op, ours()[op])
        for own, way in ways.items():
            pair = {own: way, peer: theirs[op]}
            yield f'{name}, {own}', {k: partial(run, *args) for k, run in pair.items()}
            if op != 'nms':
                yield (
                    f'{name}, {own}, forward and backward',
                    {k: partial(backward, run, args) for k, run in pair.items()},
                )


def compare(pair: Pair) -> None:
    """Refuse two ways whose results differ by more than rounding.

    Args:
        pair: Both ways, with their names.

    Raises:
        AssertionError: If they differ.
    """
    one, other = (run() for run in pair.values())
    assert_close(one, other, rtol=1e-3, atol=1e-3)


def backward(op: Op, args: tuple) -> tuple[Tensor, ...]:
    """Return the gradients of an operator's floating inputs but RoIs."""
    leaves = [
        one.detach().requires_grad_(one.dim() == 4) if isinstance(one, Tensor) else one
        for one in args
    ]
    out = op(*leaves)
    learnt = [one for one in leaves if isinstance(one, Tensor) and one.requires_grad]
    return torch.autograd.grad(out, learnt, torch.ones_like(out))
