"""The entry points of deformable convolution, v1 (offsets) and v2 (and mask, bias)."""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from collections.abc import Mapping

import torch
from torch import Tensor

from paperzoo.compat.ops.deform_columns import (
    Geometry,
    Inputs,
    deform_conv,
    image_gradients,
    matrix,
    unmatrix,
)
from paperzoo.compat.ops.widen import wide
from paperzoo.errors import UserError

# mmcv's names for kernel, stride, padding and dilation.
_V1 = [(f'{name}H', f'{name}W') for name in ('k', 'd', 'pad', 'dilation')]
_V2 = [(f'{name}_h', f'{name}_w') for name in ('kernel', 'stride', 'pad', 'dilation')]
_PER_IMAGE = ('image', 'offset', 'mask')


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
    # Under autocast the matrix product would round what was widened.
    with torch.autocast(inputs.image.device.type, enabled=False):
        return deform_conv(*_widened(inputs), geometry)


def _backward(
    inputs: Inputs,
    geometry: Geometry,
    grad_output: Tensor,
    buffers: Mapping[str, Tensor],
) -> None:
    """Write the gradients of the inputs that `buffers` names into the buffers."""
    _check_shapes(inputs, geometry)
    inputs = _widened(inputs)
    kernel = matrix(inputs.weight, geometry)
    grad_kernel = torch.zeros_like(kernel) if 'weight' in buffers else None
    grad_output = grad_output.to(kernel)
    grads = grad_output.flatten(2).unflatten(1, (geometry.groups, -1))
    with torch.autocast(inputs.image.device.type, enabled=False):
        for n, grad in enumerate(grads):
            one = inputs._replace(
                image=inputs.image[n],
                offset=inputs.offset[n],
                mask=None if inputs.mask is None else inputs.mask[n],
            )
            mine = {k: v[n] for k, v in buffers.items() if k in _PER_IMAGE}
            image_gradients(one, geometry, grad, mine, kernel, grad_kernel)
    if grad_kernel is not None:
        weight = buffers['weight']
        weight.copy_(unmatrix(grad_kernel, weight.shape, geometry))
    if 'bias' in buffers:
        buffers['bias'].copy_(grad_output.sum((0, 2, 3)))


def _widened(inputs: Inputs) -> Inputs:
    """Return the inputs detached, half precision as float32."""
    return Inputs._make(x if x is None else wide(x.detach()) for x in inputs)


def _geometry(sizes: Mapping[str, int], names: list[tuple[str, str]]) -> Geometry:
    """Read what mmcv passes by name."""
    kernel, stride, padding, dilation = ((sizes[y], sizes[x]) for y, x in names)
    groups, deform_groups = sizes['group'], sizes['deformable_group']
    return Geometry(kernel, stride, padding, dilation, groups, deform_groups)


def _check_shapes(inputs: Inputs, geometry: Geometry) -> None:
    """Raise if the tensors do not fit each other, the kernel and the groups."""
    shape, weight = inputs.image.shape, tuple(inputs.weight.shape)
    axes = zip(shape[2:], *geometry[:4], strict=True)
    out = [(n + 2 * pad - dil * (k - 1) - 1) // s + 1 for n, k, s, pad, dil in axes]
    samples = geometry.deform_groups * geometry.taps
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
    if weight[1] * geometry.groups != shape[1]:
        raise UserError(
            f'deformable convolution: weight has the shape {weight}; an image of '
            f'{shape[1]} channels and groups={geometry.groups} need '
            f'{shape[1] // geometry.groups} in place of {weight[1]}.'
        )
    if weight[0] % geometry.groups:
        raise UserError(
            f'deformable convolution: the {weight[0]} outputs of weight, of shape '
            f'{weight}, cannot be divided into groups={geometry.groups}.'
        )
