"""Deformable convolution, v1 (with offsets) and v2 (with a mask and a bias, too).

The image is a table with a row for each pixel; each tap of the kernel samples it at a
moved place. The samples of all taps are the columns that the kernel is multiplied by.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.modules.utils import _pair

from paperzoo.errors import UserError
from paperzoo.ops.sampling import (
    bilinear_corners,
    gather_rows,
    scatter_rows,
    weighted_rows,
)
from paperzoo.utils.precision import at_least_float32

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

# Numbers in the columns of one block. The backward adds a whole map per block: larger.
_FORWARD_BLOCK = {'cpu': 2**21, 'cuda': 2**26}
_BACKWARD_BLOCK = {'cpu': 2**23, 'cuda': 2**26}


# mmcv's names for kernel, stride, padding and dilation.
_V1 = [(f'{name}H', f'{name}W') for name in ('k', 'd', 'pad', 'dilation')]
_V2 = [(f'{name}_h', f'{name}_w') for name in ('kernel', 'stride', 'pad', 'dilation')]
_PER_IMAGE = ('image', 'offset', 'mask')


class ConvOptions(NamedTuple):
    """The settings of a convolution; pairs are (vertical, horizontal).

    Example:
        >>> from paperzoo.ops.deform_conv import ConvOptions
        >>> ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), groups=1, deform_groups=1).taps
        9
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int

    @property
    def taps(self) -> int:
        """The number of taps of the kernel."""
        return self.kernel[0] * self.kernel[1]


class _Inputs(NamedTuple):
    """The tensors of a deformable convolution; v1 has no mask."""

    image: Tensor
    offset: Tensor
    mask: Tensor | None
    weight: Tensor
    bias: Tensor | None


def deform_conv2d(
    input: Float[Tensor, 'batch channels height width'],
    offset: Float[Tensor, 'batch deform_taps_yx out_h out_w'],
    weight: Float[Tensor, 'out_channels group_channels kernel_h kernel_w'],
    bias: Float[Tensor, ' out_channels'] | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    mask: Float[Tensor, 'batch deform_taps out_h out_w'] | None = None,
) -> Float[Tensor, 'batch out_channels out_h out_w']:
    """Return the deformable convolution; it can be differentiated.

    The arguments are those of torchvision. The numbers of groups follow from the shapes
    of the weight and of the offset.

    Args:
        input: The batch of images; half precision is computed as float32.
        offset: How far each tap's sample is moved; the channels are, from slow to fast:
            deform group, tap, (dy, dx).
        weight: The kernel.
        bias: Added to each output channel.
        stride: As in a convolution, as for `padding` and `dilation`.
        padding: See `stride`.
        dilation: See `stride`.
        mask: What each sample is multiplied by; given in v2.

    Raises:
        UserError: If the tensors do not fit each other.

    Example:
        >>> import torch
        >>> from paperzoo.ops.deform_conv import deform_conv2d
        >>> image, down = torch.arange(4.0).view(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)
        >>> down[:, 0] = 1  # each sample one pixel further down; outside is 0
        >>> deform_conv2d(image, down, torch.ones(1, 1, 1, 1))
        tensor([[[[2., 3.],
                  [0., 0.]]]])
    """
    kernel = weight.size(2), weight.size(3)
    groups = input.size(1) // weight.size(1)
    deform_groups = offset.size(1) // (2 * kernel[0] * kernel[1])
    sizes = _pair(stride), _pair(padding), _pair(dilation)
    options = ConvOptions(kernel, *sizes, groups, deform_groups)
    inputs = _Inputs(input, offset, mask, weight, bias)
    return _convolve(inputs, options).to(input.dtype)


def _tap_positions(
    offset: Float[Tensor, 'deform_taps_yx out_h out_w'], options: ConvOptions
) -> Float[Tensor, 'places taps deform 2']:
    """Return where each tap samples the image: (y, x) in pixels.

    Args:
        offset: The channels are, from slow to fast: deform group, tap, (dy, dx).
        options: Gives the regular places.
    """
    _, out_h, out_w = offset.shape

    def regular(axis: int, size: int) -> Int[Tensor, 'size kernel']:
        start = torch.arange(size, device=offset.device) * options.stride[axis]
        tap = torch.arange(options.kernel[axis], device=offset.device)
        return start[:, None] - options.padding[axis] + tap * options.dilation[axis]

    full = (out_h, out_w, *options.kernel)
    y = regular(0, out_h)[:, None, :, None].expand(full)
    x = regular(1, out_w)[None, :, None, :].expand(full)
    places = torch.stack((y, x), dim=-1).reshape(out_h * out_w, options.taps, 1, 2)
    moves = offset.reshape(options.deform_groups, options.taps, 2, out_h * out_w)
    return places + moves.permute(3, 1, 0, 2)


class _Table(NamedTuple):
    """What one image gives to the columns."""

    pixels: Float[Tensor, 'pixels*deform deform_channels']
    rows: Int[Tensor, 'places taps*deform 4']
    weights: Float[Tensor, 'places taps*deform 4']


def _image_table(
    image: Float[Tensor, 'channels height width'],
    offset: Float[Tensor, 'deform_taps_yx out_h out_w'],
    mask: Float[Tensor, 'deform_taps out_h out_w'] | None,
    options: ConvOptions,
) -> _Table:
    """Return the image as a table and which of its rows each sample adds.

    The table has one row for each pixel and deform group.
    """
    deform = options.deform_groups
    # Filled, not copied from the host: a copy waits for the GPU.
    size = torch.stack(
        [torch.full((), n, device=image.device) for n in image.shape[1:]]
    )
    pixels, weights = bilinear_corners(_tap_positions(offset, options), size)
    if mask is not None:
        scale = mask.reshape(deform, options.taps, -1).permute(2, 1, 0)
        weights = weights * scale[..., None]
    rows = pixels * deform + torch.arange(deform, device=image.device)[:, None]
    table = image.permute(1, 2, 0).reshape(-1, image.size(0) // deform).contiguous()
    return _Table(table, rows.flatten(1, 2), weights.flatten(1, 2))


def _convolve(
    inputs: _Inputs, options: ConvOptions
) -> Float[Tensor, 'batch out_channels out_h out_w']:
    """Return the convolution, half precision computed as float32."""
    _check_shapes(inputs, options)
    image, offset, mask, weight, bias = _in_float32(inputs)
    kernel = _matrix(weight, options)
    output = image.new_empty(len(image), weight.size(0), *offset.shape[2:])
    by_group = output.flatten(2).unflatten(1, (options.groups, -1))
    # Under autocast the matrix product would round what is in float32.
    with torch.autocast(image.device.type, enabled=False):
        for n in range(len(image)):
            moves = offset[n], None if mask is None else mask[n]
            table, rows, weights = _image_table(image[n], *moves, options)
            for block in _blocks(len(rows), kernel, _FORWARD_BLOCK):
                part = rows[block].flatten(0, 1), weights[block].flatten(0, 1)
                columns = weighted_rows(table, *part)
                by_group[n, ..., block] = kernel @ _by_group(columns, options).mT
    return output if bias is None else output.add_(bias.view(-1, 1, 1))


def _image_gradients(
    inputs: _Inputs,
    options: ConvOptions,
    grad_output: Float[Tensor, 'groups group_out places'],
    buffers: Mapping[str, Tensor],
    kernel: Float[Tensor, 'groups group_out taps_group_channels'],
    grad_kernel: Float[Tensor, 'groups group_out taps_group_channels'] | None,
) -> None:
    """Write one image's gradients into `buffers`; add the kernel's to `grad_kernel`.

    How the weights depend on offset and mask is left to autograd.
    """
    leaves = {
        name: getattr(inputs, name).detach().requires_grad_()
        for name in ('offset', 'mask')
        if name in buffers
    }
    with torch.enable_grad():
        table, rows, weights = _image_table(*inputs._replace(**leaves)[:3], options)
    grad_table, grad_weights = torch.zeros_like(table), torch.zeros_like(weights)
    for block in _blocks(len(rows), kernel, _BACKWARD_BLOCK):
        row = rows[block].flatten(0, 1)
        weight = weights.detach()[block].flatten(0, 1).requires_grad_(bool(leaves))
        with torch.enable_grad():
            columns = gather_rows(table, row, weight)
        grad = grad_output[..., block]
        if grad_kernel is not None:
            grad_kernel += grad @ _by_group(columns.detach(), options)
        if leaves:
            grad_columns = _by_sample(grad.mT @ kernel, options)
            (part,) = torch.autograd.grad(columns, weight, grad_columns)
            grad_weights[block] = part.view_as(grad_weights[block])
            weight = weight.detach()
            grad_table += scatter_rows(grad_columns, row, weight, len(table))
    if leaves:
        moves = torch.autograd.grad(weights, list(leaves.values()), grad_weights)
        for name, move in zip(leaves, moves, strict=True):
            buffers[name].copy_(move)
        channels, height, width = inputs.image.shape
        pixels = grad_table.view(height * width, channels).T
        buffers['image'].copy_(pixels.view(channels, height, width))


def _matrix(
    weight: Float[Tensor, 'out_channels group_channels kernel_h kernel_w'],
    options: ConvOptions,
) -> Float[Tensor, 'groups group_out taps_group_channels']:
    """Return the kernel as the matrix by which columns are multiplied."""
    split = weight.reshape(options.groups, -1, weight.size(1), options.taps)
    return split.mT.flatten(2)


def _unmatrix(
    kernel: Float[Tensor, 'groups group_out taps_group_channels'],
    shape: torch.Size,
    options: ConvOptions,
) -> Float[Tensor, 'out_channels group_channels kernel_h kernel_w']:
    """Return a matrix of `_matrix` as a kernel."""
    return kernel.unflatten(2, (options.taps, shape[1])).mT.reshape(shape)


def _by_group(
    columns: Float[Tensor, 'samples deform_channels'], options: ConvOptions
) -> Float[Tensor, 'groups places taps_group_channels']:
    """Return the samples as the columns of each group of the convolution."""
    deform, taps, groups = options.deform_groups, options.taps, options.groups
    channels = columns.size(1) * deform // groups
    split = columns.reshape(-1, taps, groups, channels)
    return split.permute(2, 0, 1, 3).flatten(2)


def _by_sample(
    columns: Float[Tensor, 'groups places taps_group_channels'], options: ConvOptions
) -> Float[Tensor, 'samples deform_channels']:
    """Return the columns of `_by_group` as samples."""
    split = columns.unflatten(2, (options.taps, -1)).permute(1, 2, 0, 3)
    return split.reshape(columns.size(1) * options.taps * options.deform_groups, -1)


def _blocks(places: int, kernel: Tensor, most: Mapping[str, int]) -> Iterator[slice]:
    """Yield blocks of places whose columns hold at most so many numbers."""
    limit = most.get(kernel.device.type, most['cuda'])
    step = max(1, limit // (kernel.size(0) * kernel.size(2)))
    for first in range(0, places, step):
        yield slice(first, first + step)


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
    inputs = _Inputs(input, offset, None, weight, None)
    output.copy_(_convolve(inputs, _options_of(sizes, _V1)))


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
    inputs = _Inputs(input, offset, None, weight, None)
    buffers = {'image': grad_input, 'offset': grad_offset}
    _backward(inputs, _options_of(sizes, _V1), grad_output, buffers)


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
    inputs = _Inputs(input, offset, None, grad_weight, None)
    _backward(inputs, _options_of(sizes, _V1), grad_output, {'weight': grad_weight})
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
    options = _options_of(sizes, _V2)
    inputs = _Inputs(input, offset, mask, weight, bias if with_bias else None)
    output.copy_(_convolve(_without_rest(inputs, options), options))


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
    options = _options_of(sizes, _V2)
    inputs = _Inputs(input, offset, mask, weight, bias if with_bias else None)
    inputs = _without_rest(inputs, options)
    buffers = {'image': grad_input, 'weight': grad_weight}
    if with_bias:
        buffers['bias'] = grad_bias
    given = {'offset': grad_offset, 'mask': grad_mask}
    for name, buffer in given.items():
        used = getattr(inputs, name)
        same = used.shape == buffer.shape
        buffers[name] = buffer if same else torch.zeros_like(used, dtype=buffer.dtype)
    _backward(inputs, options, grad_output, buffers)
    for name, buffer in given.items():
        if buffers[name] is not buffer:
            numbers = buffers[name].flatten(1)
            rest = buffer[0].numel() - numbers.size(1)
            buffer.copy_(F.pad(numbers, (0, rest)).view_as(buffer))


def _without_rest(inputs: _Inputs, options: ConvOptions) -> _Inputs:
    """Return the inputs without what v2 does not read of larger offsets and masks.

    mmcv's kernels take the first numbers of each image, whatever the shape; DyHead
    passes the offsets of one level to the convolution of a smaller one.
    """
    out = _out_size(inputs.image.shape, options)
    cut = {}
    for name, each in (('offset', 2), ('mask', 1)):
        given = getattr(inputs, name)
        shape = len(inputs.image), each * options.deform_groups * options.taps, *out
        need = prod(shape[1:])
        enough = given.shape != shape and given.shape[1:].numel() >= need
        if enough and given.shape[:1] == shape[:1] and min(out) > 0:
            cut[name] = given.flatten(1)[:, :need].reshape(shape)
    return inputs._replace(**cut)


def _backward(
    inputs: _Inputs,
    options: ConvOptions,
    grad_output: Tensor,
    buffers: Mapping[str, Tensor],
) -> None:
    """Write the gradients of the inputs that `buffers` names into the buffers."""
    _check_shapes(inputs, options)
    inputs = _in_float32(inputs)
    inputs = _Inputs._make(x if x is None else x.detach() for x in inputs)
    kernel = _matrix(inputs.weight, options)
    grad_kernel = torch.zeros_like(kernel) if 'weight' in buffers else None
    grad_output = grad_output.to(kernel)
    grads = grad_output.flatten(2).unflatten(1, (options.groups, -1))
    with torch.autocast(inputs.image.device.type, enabled=False):
        for n, grad in enumerate(grads):
            one = inputs._replace(
                image=inputs.image[n],
                offset=inputs.offset[n],
                mask=None if inputs.mask is None else inputs.mask[n],
            )
            mine = {k: v[n] for k, v in buffers.items() if k in _PER_IMAGE}
            _image_gradients(one, options, grad, mine, kernel, grad_kernel)
    if grad_kernel is not None:
        weight = buffers['weight']
        weight.copy_(_unmatrix(grad_kernel, weight.shape, options))
    if 'bias' in buffers:
        buffers['bias'].copy_(grad_output.sum((0, 2, 3)))


def _in_float32(inputs: _Inputs) -> _Inputs:
    """Return the inputs, half precision as float32."""
    return _Inputs._make(x if x is None else at_least_float32(x) for x in inputs)


def _options_of(sizes: Mapping[str, int], names: list[tuple[str, str]]) -> ConvOptions:
    """Read what mmcv passes by name."""
    kernel, stride, padding, dilation = ((sizes[y], sizes[x]) for y, x in names)
    groups, deform_groups = sizes['group'], sizes['deformable_group']
    return ConvOptions(kernel, stride, padding, dilation, groups, deform_groups)


def _out_size(shape: torch.Size, options: ConvOptions) -> list[int]:
    """Return height and width of the output for images of this shape."""
    axes = zip(shape[2:], *options[:4], strict=True)
    return [(n + 2 * pad - dil * (k - 1) - 1) // s + 1 for n, k, s, pad, dil in axes]


def _check_shapes(inputs: _Inputs, options: ConvOptions) -> None:
    """Raise if the tensors do not fit each other, the kernel and the groups."""
    shape, weight = inputs.image.shape, tuple(inputs.weight.shape)
    out = _out_size(shape, options)
    samples = options.deform_groups * options.taps
    given = {'offset': (inputs.offset, 2 * samples), 'mask': (inputs.mask, samples)}
    for name, (tensor, channels) in given.items():
        need = (shape[0], channels, *out)
        if tensor is not None and tensor.shape != need:
            raise UserError(
                f'deformable convolution: {name} has the shape {tuple(tensor.shape)}; '
                f'an image of shape {tuple(shape)} and {options} need {need}.'
            )
    if shape[1] % options.deform_groups or shape[1] % options.groups:
        raise UserError(
            f'deformable convolution: {shape[1]} channels cannot be divided into '
            f'groups={options.groups} and deform_groups={options.deform_groups}.'
        )
    if weight[1] * options.groups != shape[1]:
        raise UserError(
            f'deformable convolution: weight has the shape {weight}; an image of '
            f'{shape[1]} channels and groups={options.groups} need '
            f'{shape[1] // options.groups} in place of {weight[1]}.'
        )
    if weight[0] % options.groups:
        raise UserError(
            f'deformable convolution: the {weight[0]} outputs of weight, of shape '
            f'{weight}, cannot be divided into groups={options.groups}.'
        )
