"""Batch normalisation with the statistics of several processes.

mmcv does the sums over the processes in Python, between the functions here.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist

from paperzoo.utils.precision import at_least_float32


def synced_batch_norm(
    input: Float[Tensor, 'batch channels *pixels'],
    running: tuple[Tensor | None, Tensor | None],
    affine: tuple[Tensor | None, Tensor | None],
    momentum: float,
    eps: float,
    group: 'dist.ProcessGroup | None' = None,
) -> Float[Tensor, 'batch channels *pixels']:
    """Return the input, normalised by mean and variance over all processes of a group.

    It can be differentiated; every process must take part, one without images too.

    Args:
        input: The images of this process.
        running: Mean and variance so far, which are changed; none are kept if None.
        affine: What a channel is multiplied by, and what is added.
        momentum: The share of the new statistics in the running ones.
        eps: Added to the variance.
        group: The processes; by default all.

    Example:
        >>> import tempfile, torch
        >>> from torch import distributed as dist
        >>> from paperzoo.ops.sync_bn import synced_batch_norm
        >>> store = dist.HashStore()
        >>> dist.init_process_group('gloo', store=store, rank=0, world_size=1)
        >>> image = torch.tensor([[[1.0, 3.0]]])
        >>> synced_batch_norm(image, (None, None), (None, None), momentum=0.1, eps=0)
        tensor([[[-1.,  1.]]])
        >>> dist.destroy_process_group()
    """
    given = at_least_float32(input)
    axes = [0, *range(2, input.dim())]
    count = given.new_full((1,), given.numel() // max(1, given.size(1)))
    total = torch.cat((given.sum(axes), count))
    total = _Sum.apply(total, group)
    count = total[-1:].detach().clamp(min=1)
    shape = (1, -1, *[1] * (input.dim() - 2))
    mean = total[:-1] / count
    centred = given - mean.view(shape)
    square = _Sum.apply(centred.square().sum(axes), group)
    variance = square / count
    with torch.no_grad():
        # Without a single image the running statistics stay as they are.
        share = momentum * (total[-1] > 0)
        unbiased = variance * count / (count - 1).clamp(min=1)
        for old, new in zip(running, (mean, unbiased), strict=True):
            if old is not None:
                old.lerp_(new.to(old.dtype), float(share))
    result = centred * (variance + eps).rsqrt().view(shape)
    weight, bias = affine
    if weight is not None:
        result = result * weight.view(shape)
    if bias is not None:
        result = result + bias.view(shape)
    return result.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes, and over their gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = given.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel of this process."""
    mean.copy_(at_least_float32(input).mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the mean square distance from the mean of all processes."""
    var.copy_((at_least_float32(input) - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Write the normalised input, with and without weights; update what is running."""
    std.copy_((var + eps).sqrt())
    norm.copy_((at_least_float32(input) - mean[:, None]) / std[:, None])
    result = norm if weight is None else norm * weight[:, None]
    output.copy_(result if bias is None else result + bias[:, None])
    if running_mean is not None and running_var is not None:
        count = input.size(0) * input.size(2) * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        running_mean.lerp_(mean.to(running_mean.dtype), float(momentum))
        running_var.lerp_(unbiased.to(running_var.dtype), float(momentum))


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of weight and bias of this process."""
    grad = at_least_float32(grad_output)
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor | None,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient of the input, from the means of the others' gradients."""
    count = max(1, norm.size(0) * norm.size(2))
    shift = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    scale = (1 if weight is None else weight) / std
    grad_input.copy_((at_least_float32(grad_output) - shift) * scale[:, None])
