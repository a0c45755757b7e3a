"""Deformable convolution, v1 (offsets) and v2 (offsets, mask, bias), with gradients.

Each tap of the kernel samples the image at its regular place plus an offset of its own,
between pixels bilinearly and as zero outside; v2 multiplies the sample by a mask. Then
the convolution is a matrix product. The backward is autograd on the same functions.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.errors import UserError

# mmcv's names for kernel, stride, padding and dilation.
_V1 = [(f'{name}H', f'{name}W') for name in ('k', 'd', 'pad', 'dilation')]
_V2 = [(f'{name}_h', f'{name}_w') for name in ('kernel', 'stride', 'pad', 'dilation')]


class Geometry(NamedTuple):
    """What a convolution's weight does not tell; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int


class Inputs(NamedTuple):
    """The tensors of a deformable convolution; v1 has no mask."""

    image: Tensor
    offset: Tensor
    mask: Tensor | None
    weight: Tensor
    bias: Tensor | None


def sample_positions(
    offset: Float[Tensor, 'batch deform_taps_yx out_h out_w'], geometry: Geometry
) -> Float[Tensor, 'batch out_h out_w taps deform 2']:
    """Return where each tap samples the image: (y, x) in pixels.

    Args:
        offset: The channels are, from slow to fast: deform group, tap, (dy, dx).
        geometry: Gives the regular places.
    """
    batch, _, out_h, out_w = offset.shape
    taps = geometry.kernel[0] * geometry.kernel[1]

    def regular(axis: int, size: int) -> Int[Tensor, 'size kernel']:
        start = torch.arange(size, device=offset.device) * geometry.stride[axis]
        tap = torch.arange(geometry.kernel[axis], device=offset.device)
        return start[:, None] - geometry.padding[axis] + tap * geometry.dilation[axis]

    full = (out_h, out_w, *geometry.kernel)
    y = regular(0, out_h)[:, None, :, None].expand(full)
    x = regular(1, out_w)[None, :, None, :].expand(full)
    places = torch.stack((y, x), dim=-1).reshape(out_h, out_w, taps, 1, 2)
    moves = offset.reshape(batch, geometry.deform_groups, taps, 2, out_h, out_w)
    return places + moves.permute(0, 4, 5, 2, 1, 3)


def bilinear_corners(
    positions: Float[Tensor, '*samples 2'], height: int, width: int
) -> tuple[Int[Tensor, '*samples 4'], Float[Tensor, '*samples 4']]:
    """Return the four pixels around each position (y * width + x) and their weights.

    A pixel outside the image has weight 0 (and some valid number). So have all four of
    a position that is a whole pixel or more outside, or not finite; such a position has
    no gradient either.
    """
    size = positions.new_tensor((height, width))
    inside = ((positions > -1) & (positions < size)).all(dim=-1, keepdim=True)
    positions = torch.where(inside, positions, 0.0)
    corner = positions.floor()
    down, right = (positions - corner).unbind(-1)
    weights = torch.stack(
        (
            (1 - down) * (1 - right),
            (1 - down) * right,
            down * (1 - right),
            down * right,
        ),
        dim=-1,
    )
    top, left = corner.long().unbind(-1)
    y = torch.stack((top, top, top + 1, top + 1), dim=-1)
    x = torch.stack((left, left + 1, left, left + 1), dim=-1)
    valid = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    pixels = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return pixels, torch.where(valid, weights, 0.0)


def deform_columns(
    image: Float[Tensor, 'batch channels height width'],
    offset: Float[Tensor, 'batch deform_taps_yx out_h out_w'],
    mask: Float[Tensor, 'batch deform_taps out_h out_w'] | None,
    geometry: Geometry,
) -> Float[Tensor, 'batch*out_h*out_w taps channels']:
    """Return the samples of each output place, with which the kernel is multiplied."""
    batch, channels, height, width = image.shape
    deform, taps = geometry.deform_groups, geometry.kernel[0] * geometry.kernel[1]
    positions = sample_positions(offset, geometry)
    pixels, weights = bilinear_corners(positions, height, width)
    if mask is not None:
        scale = mask.reshape(batch, deform, taps, *mask.shape[2:])
        weights = weights * scale.permute(0, 3, 4, 2, 1).unsqueeze(-1)
    # One row of the table per pixel and deform group: a sample is a weighted sum of
    # four rows. Without `contiguous` embedding_bag is many times slower.
    table = image.permute(0, 2, 3, 1).reshape(-1, channels // deform).contiguous()
    first = torch.arange(batch, device=image.device) * height * width
    rows = pixels + first.view(-1, 1, 1, 1, 1, 1)
    rows = rows * deform + torch.arange(deform, device=image.device)[:, None]
    samples = F.embedding_bag(
        rows.view(-1, 4), table, mode='sum', per_sample_weights=weights.reshape(-1, 4)
    )
    return samples.view(-1, taps, channels)


def deform_conv(
    image: Float[Tensor, 'batch channels height width'],
    offset: Float[Tensor, 'batch deform_taps_yx out_h out_w'],
    mask: Float[Tensor, 'batch deform_taps out_h out_w'] | None,
    weight: Float[Tensor, 'out_channels group_channels kernel_h kernel_w'],
    bias: Float[Tensor, ' out_channels'] | None,
    geometry: Geometry,
) -> Float[Tensor, 'batch out_channels out_h out_w']:
    """Return the deformable convolution of the image; v1 if `mask` is None, else v2."""
    batch, _, out_h, out_w = offset.shape
    out_channels, group_channels, kernel_h, kernel_w = weight.shape
    groups, taps = geometry.groups, kernel_h * kernel_w
    columns = deform_columns(image, offset, mask, geometry)
    columns = columns.reshape(-1, taps, groups, group_channels).permute(2, 0, 1, 3)
    kernel = weight.reshape(groups, -1, group_channels, taps).permute(0, 3, 2, 1)
    output = columns.reshape(groups, -1, taps * group_channels) @ kernel.reshape(
        groups, taps * group_channels, -1
    )
    output = output.permute(1, 0, 2).reshape(batch, out_h, out_w, out_channels)
    if bias is not None:
        output = output + bias
    return output.permute(0, 3, 1, 2)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **sizes: int,
) -> None:
    """Write v1's output; the buffers `columns` and `ones` stay unused."""
    inputs = Inputs(input, offset, None, weight, None)
    output.copy_(_forward(inputs, _geometry(sizes, _V1)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Write v1's gradients of the image and of the offsets."""
    inputs = Inputs(input, offset, None, weight, None)
    buffers = {'image': grad_input, 'offset': grad_offset}
    _backward(inputs, _geometry(sizes, _V1), grad_output, buffers)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float | int,
    **sizes: int,
) -> None:
    """Write v1's gradient of the weight, times `scale`."""
    # mmcv does not pass the weight; its gradient needs only the shape.
    inputs = Inputs(input, offset, None, grad_weight, None)
    _backward(inputs, _geometry(sizes, _V1), grad_output, {'weight': grad_weight})
    grad_weight.mul_(scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write v2's output; the buffers `ones` and `columns` stay unused."""
    inputs = Inputs(input, offset, mask, weight, bias if with_bias else None)
    output.copy_(_forward(inputs, _geometry(sizes, _V2)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write v2's gradients of the image, offsets, mask, weight and bias (if any)."""
    inputs = Inputs(input, offset, mask, weight, bias if with_bias else None)
    buffers = {'image': grad_input, 'offset': grad_offset, 'mask': grad_mask}
    buffers['weight'] = grad_weight
    if with_bias:
        buffers['bias'] = grad_bias
    _backward(inputs, _geometry(sizes, _V2), grad_output, buffers)


def _forward(inputs: Inputs, geometry: Geometry) -> Tensor:
    """Return the convolution, half precision computed as float32."""
    _check_shapes(inputs, geometry)
    wide = Inputs._make(x if x is None else _wide(x) for x in inputs)
    # Under autocast the matrix product would round what was widened.
    with torch.autocast(inputs.image.device.type, enabled=False):
        return deform_conv(*wide, geometry)


def _backward(
    inputs: Inputs,
    geometry: Geometry,
    grad_output: Tensor,
    buffers: Mapping[str, Tensor],
) -> None:
    """Write the gradients of the inputs that `buffers` names into the buffers."""
    leaves = Inputs._make(
        x if x is None else x.detach().requires_grad_(name in buffers)
        for name, x in inputs._asdict().items()
    )
    with torch.autocast(inputs.image.device.type, enabled=False), torch.enable_grad():
        output = _forward(leaves, geometry)
        wanted = [getattr(leaves, name) for name in buffers]
        gradients = torch.autograd.grad(output, wanted, grad_output.to(output))
    for buffer, gradient in zip(buffers.values(), gradients, strict=True):
        buffer.copy_(gradient)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.half, torch.bfloat16) else x


def _geometry(sizes: Mapping[str, int], names: list[tuple[str, str]]) -> Geometry:
    """Read what mmcv passes by name."""
    kernel, stride, padding, dilation = ((sizes[y], sizes[x]) for y, x in names)
    groups, deform_groups = sizes['group'], sizes['deformable_group']
    return Geometry(kernel, stride, padding, dilation, groups, deform_groups)


def _check_shapes(inputs: Inputs, geometry: Geometry) -> None:
    """Raise if the offset or mask does not fit the image, the kernel and the groups."""
    shape = inputs.image.shape
    axes = zip(shape[2:], *geometry[:4], strict=True)
    out = [(n + 2 * pad - dil * (k - 1) - 1) // s + 1 for n, k, s, pad, dil in axes]
    samples = geometry.deform_groups * geometry.kernel[0] * geometry.kernel[1]
    given = {'offset': (inputs.offset, 2 * samples), 'mask': (inputs.mask, samples)}
    for name, (tensor, channels) in given.items():
        need = (shape[0], channels, *out)
        if tensor is not None and tensor.shape != need:
            raise UserError(
                f'deformable convolution: {name} has the shape {tuple(tensor.shape)}; '
                f'an image of shape {tuple(shape)} and {geometry} need {need}.'
            )
    if shape[1] % geometry.deform_groups or shape[1] % geometry.groups:
        raise UserError(
            f'deformable convolution: {shape[1]} channels cannot be divided into '
            f'groups={geometry.groups} and deform_groups={geometry.deform_groups}.'
        )
