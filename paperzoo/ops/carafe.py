"""CARAFE: an image enlarged by kernels of its own for each new pixel.

A new pixel is the weighted sum of the window around the old pixel it lies in. The sums
run tap by tap: the columns of all windows would take as many times the memory.

Differs: mmcv's kernels are CUDA only; half precision is summed in float32 here.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from paperzoo.utils.precision import at_least_float32


def carafe(
    features: Float[Tensor, 'batch channels height width'],
    masks: Float[Tensor, 'batch group_taps out_h out_w'],
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> Float[Tensor, 'batch channels out_h out_w']:
    """Return the enlarged image; it can be differentiated for image and masks.

    Args:
        features: The image.
        masks: The kernel of each new pixel; the channels are, from slow to fast: group
            of channels, row and column of the kernel.
        kernel_size: Side of the kernels, an odd number.
        group_size: Number of groups of channels, each with a kernel of its own.
        scale_factor: How many times larger each side becomes.

    Example:
        >>> import torch
        >>> from paperzoo.ops.carafe import carafe
        >>> image, twice = torch.tensor([[[[1.0, 3.0]]]]), torch.full((1, 1, 2, 4), 2.0)
        >>> carafe(image, twice, kernel_size=1, group_size=1, scale_factor=2)[0, 0]
        tensor([[2., 2., 6., 6.],
                [2., 2., 6., 6.]])
    """
    options = kernel_size, group_size, scale_factor
    return _Carafe.apply(features, masks, options)


class _Carafe(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, masks: Tensor, options: tuple) -> Tensor:
        ctx.save_for_backward(features, masks)
        ctx.options = options
        return _reassembled(features, masks, *options).to(features.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        found = _gradients(grad, *ctx.saved_tensors, *ctx.options)
        of_features, of_masks = (
            one.to(given.dtype)
            for one, given in zip(found, ctx.saved_tensors, strict=True)
        )
        return of_features, of_masks, None


def _taps(
    padded: Float[Tensor, 'batch channels padded_h padded_w'],
    masks: Float[Tensor, 'batch group_taps out_h out_w'],
    options: tuple[int, int, int],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views for each tap of the kernels: of the image, moved, and of its weights.

    Both have the axes (batch, group, channel, row, row within, column, column within).
    """
    kernel, groups, scale = options
    (height, width), margin = masks.shape[2:], kernel - 1
    rows, columns = height // scale, width // scale
    grouped = padded.unflatten(1, (groups, -1))
    weights = masks.unflatten(1, (groups, kernel * kernel))
    weights = weights.unflatten(4, (columns, scale)).unflatten(3, (rows, scale))
    for y in range(margin + 1):
        for x in range(margin + 1):
            moved = grouped[..., y : y + rows, x : x + columns]
            yield moved[..., :, None, :, None], weights[:, :, y * kernel + x, None]


def _reassembled(
    features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> Float[Tensor, 'batch channels out_h out_w']:
    """Return the enlarged image, in float32 at least."""
    batch, channels, height, width = features.shape
    padded = F.pad(at_least_float32(features), (kernel // 2,) * 4)
    masks = at_least_float32(masks)
    shape = batch, groups, channels // groups, height, scale, width, scale
    total = padded.new_zeros(shape)
    for moved, weights in _taps(padded, masks, (kernel, groups, scale)):
        total.addcmul_(moved.expand(shape), weights.expand(shape))
    return total.view(batch, channels, height * scale, width * scale)


def _gradients(
    grad: Tensor, features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the image and of the masks, in float32 at least."""
    height, width = features.shape[2:]
    options = kernel, groups, scale
    margin = kernel // 2
    padded = F.pad(at_least_float32(features), (margin,) * 4)
    masks = at_least_float32(masks)
    grad = at_least_float32(grad).unflatten(1, (groups, -1))
    grad = grad.unflatten(4, (width, scale)).unflatten(3, (height, scale))
    of_padded, of_masks = torch.zeros_like(padded), torch.zeros_like(masks)
    into = _taps(of_padded, of_masks, options)
    for (moved, weights), (of_moved, of_weights) in zip(
        _taps(padded, masks, options), into, strict=True
    ):
        of_moved += (grad * weights).sum((4, 6), keepdim=True)
        of_weights += (grad * moved).sum(2, keepdim=True)
    of_features = of_padded[..., margin : margin + height, margin : margin + width]
    return of_features, of_masks


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the enlarged image, and the image itself into a buffer for the backward."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write both gradients; `rfeatures` holds what the forward wrote."""
    sizes = kernel_size, group_size, scale_factor
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, *sizes)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the enlarged image."""
    output.copy_(_reassembled(features, masks, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of the image and of the masks."""
    sizes = kernel_size, group_size, scale_factor
    of_features, of_masks = _gradients(grad_output, features, masks, *sizes)
    grad_input.copy_(of_features)
    grad_masks.copy_(of_masks)
