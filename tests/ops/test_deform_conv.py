from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops import deform_conv as module
from paperzoo.ops.deform_conv import ConvOptions, deform_conv2d

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')
OPS = mmcv_ext.bound_ops()

SIZES = ('stride', 'pad', 'dilation')
pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
# At least what the largest kernel reaches over with its dilation.
image_sizes = st.tuples(st.integers(5, 8), st.integers(5, 8))


@st.composite
def conv_options(draw) -> ConvOptions:
    return ConvOptions(
        kernel=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        stride=draw(pair),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(pair),
        groups=draw(st.sampled_from([1, 2])),
        deform_groups=draw(st.sampled_from([1, 2, 4])),
    )


def inputs(
    options: ConvOptions,
    seed: int,
    batch: int = 2,
    deviation: float = 1.5,
    size: tuple[int, int] = (5, 6),
):
    """Image, offset, mask, weight and bias, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    image = normal(batch, 4, *size)
    weight = normal(2 * options.groups, 4 // options.groups, *options.kernel)
    output = F.conv2d(
        image,
        weight,
        None,
        options.stride,
        options.padding,
        options.dilation,
        options.groups,
    )
    samples = options.deform_groups * options.kernel[0] * options.kernel[1]
    offset = normal(batch, 2 * samples, *output.shape[2:]) * deviation
    mask = normal(batch, samples, *output.shape[2:])
    return image, offset, mask, weight, normal(weight.size(0))


def v1(image: Tensor, offset: Tensor, weight: Tensor, options: ConvOptions) -> Tensor:
    return mmcv_ops.deform_conv2d(image, offset, weight, *options[1:])


def v2(*tensors: Tensor | None, options: ConvOptions) -> Tensor:
    return mmcv_ops.modulated_deform_conv2d(*tensors, *options[1:])


@given(conv_options(), st.integers(0, 999), image_sizes)
@settings(max_examples=15, deadline=None)
def test_v1_equals_the_definition(options, seed, size):
    image, offset, _, weight, _ = inputs(options, seed, batch=1, size=size)
    expected = reference.deform_conv(
        image, offset, None, weight, None, **keywords(options)
    )
    torch.testing.assert_close(v1(image, offset, weight, options), expected)


@given(conv_options(), st.integers(0, 999), image_sizes, st.booleans())
@settings(max_examples=15, deadline=None)
def test_v2_equals_the_definition(options, seed, size, with_bias):
    image, offset, mask, weight, bias = inputs(options, seed, batch=1, size=size)
    if not with_bias:
        bias = None
    expected = reference.deform_conv(
        image, offset, mask, weight, bias, **keywords(options)
    )
    actual = v2(image, offset, mask, weight, bias, options=options)
    torch.testing.assert_close(actual, expected)


@given(conv_options(), st.integers(0, 99), st.booleans())
@settings(max_examples=10, deadline=None)
def test_the_function_is_mmcvs_with_its_gradients(options, seed, modulated):
    leaves = [x.requires_grad_() for x in inputs(options, seed)]
    image, offset, mask, weight, bias = leaves
    sizes = options.stride, options.padding, options.dilation
    if modulated:
        expected = v2(*leaves, options=options)
        actual = deform_conv2d(image, offset, weight, bias, *sizes, mask)
    else:
        leaves = [image, offset, weight]
        expected = mmcv_ops.deform_conv2d(*leaves, *options[1:])
        actual = deform_conv2d(*leaves, None, *sizes)
    torch.testing.assert_close(actual, expected)
    gradients = (
        torch.autograd.grad(x.square().sum(), leaves) for x in (actual, expected)
    )
    torch.testing.assert_close(*gradients)


def keywords(options: ConvOptions) -> dict:
    return {k: v for k, v in options._asdict().items() if k != 'kernel'}


@given(conv_options(), st.integers(0, 999))
@settings(max_examples=6, deadline=None)
def test_v1_gradients(options, seed):
    image, offset, _, weight, _ = inputs(options, seed, batch=1)
    leaves = [x.requires_grad_() for x in (image, offset, weight)]
    assert torch.autograd.gradcheck(lambda *x: v1(*x, options), leaves, fast_mode=True)


@given(conv_options(), st.integers(0, 999), st.booleans())
@settings(max_examples=6, deadline=None)
def test_v2_gradients(options, seed, with_bias):
    *leaves, bias = [x.requires_grad_() for x in inputs(options, seed)]
    leaves.append(bias if with_bias else None)
    assert torch.autograd.gradcheck(
        lambda *x: v2(*x, options=options), leaves, fast_mode=True
    )


def test_gradients_entry_by_entry():
    options = ConvOptions((2, 2), (3, 2), (1, 0), (1, 1), 2, 2)
    leaves = [x.requires_grad_() for x in inputs(options, seed=1, batch=1)]
    assert torch.autograd.gradcheck(lambda *x: v2(*x, options=options), leaves)
    image, offset, _, weight, _ = leaves
    assert torch.autograd.gradcheck(lambda *x: v1(*x, options), (image, offset, weight))


@given(conv_options(), st.integers(0, 999), image_sizes)
@settings(max_examples=40, deadline=None)
def test_zero_offsets_are_a_plain_convolution(options, seed, size):
    image, offset, mask, weight, bias = inputs(options, seed, deviation=0, size=size)
    expected = F.conv2d(image, weight, bias, *options[1:5])
    ones = torch.ones_like(mask)
    actual = v2(image, offset, ones, weight, bias, options=options)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        v1(image, offset, weight, options), expected - bias.view(-1, 1, 1)
    )


def test_equal_offsets_shift_the_image():
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 1, 1)
    image, offset, _, weight, _ = inputs(options, seed=2, deviation=0)
    offset[:, 0::2], offset[:, 1::2] = 1, -2
    shifted = F.pad(image, (2, -2, -1, 1))
    # The border differs: the image is shifted before the padding is added.
    expected = F.conv2d(shifted, weight, padding=1)[..., 1:-1, 1:-1]
    actual = v1(image, offset, weight, options)[..., 1:-1, 1:-1]
    torch.testing.assert_close(actual, expected)


def test_mask_scales_and_zero_leaves_the_bias():
    options = ConvOptions((3, 2), (1, 1), (1, 1), (1, 1), 1, 2)
    image, offset, mask, weight, bias = inputs(options, seed=3)

    def output(mask: Tensor) -> Tensor:
        return v2(image, offset, mask, weight, bias, options=options)

    only_bias = output(torch.zeros_like(mask))
    torch.testing.assert_close(only_bias, bias.view(-1, 1, 1).expand_as(only_bias))
    torch.testing.assert_close(
        output(3 * mask) - only_bias, 3 * (output(mask) - only_bias)
    )


def test_samples_outside_have_no_gradient():
    # With zero offsets the padding's samples lie exactly one pixel outside.
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 1, 1)
    image, offset, _, weight, _ = inputs(options, seed=4, deviation=0)
    offset.requires_grad_()
    v1(image, offset, weight, options).sum().backward()
    top_row = offset.grad[:, :6, 0]  # taps of the kernel's first row, first output row
    torch.testing.assert_close(top_row, torch.zeros_like(top_row))
    assert (offset.grad[:, :6, 1:, 1:-1] != 0).all()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e30])
def test_an_offset_that_is_not_finite_samples_zero(value):
    options = ConvOptions((1, 1), (1, 1), (0, 0), (1, 1), 1, 1)
    image, offset, _, weight, _ = inputs(options, seed=5, deviation=0)
    offset[0, 0, 2, 3] = value
    expected = F.conv2d(image, weight)
    expected[0, :, 2, 3] = 0
    image.requires_grad_()
    offset.requires_grad_()
    output = v1(image, offset, weight, options)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    assert image.grad.isfinite().all()
    assert offset.grad[0, :, 2, 3].tolist() == [0, 0]
    assert offset.grad.isfinite().all()


@pytest.mark.parametrize('layout', ['channels_last', 'strided'])
def test_memory_layout_does_not_matter(layout):
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 2, 2)
    given_tensors = inputs(options, seed=6)
    results = []
    for change in (False, True):
        leaves = []
        for x in given_tensors:
            if change and layout == 'strided':
                x = torch.stack((x, x), dim=-1)[..., 0]
            elif change and x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            leaves.append(x.detach().requires_grad_())
        output = v2(*leaves, options=options)
        output.pow(2).sum().backward()
        results.append([output.detach(), *(x.grad for x in leaves)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('places', [1, 7, 29])
def test_block_by_block(places, monkeypatch):
    # 30 places of 9 taps x 4 channels: blocks of one, of several, and a short last one.
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 2, 2)
    given_tensors = inputs(options, seed=10)
    results = []
    for block in (2**20, places * 36):
        monkeypatch.setitem(module._FORWARD_BLOCK, 'cpu', block)
        monkeypatch.setitem(module._BACKWARD_BLOCK, 'cpu', block)
        leaves = [x.clone().requires_grad_() for x in given_tensors]
        output = v2(*leaves, options=options)
        output.pow(2).sum().backward()
        results.append([output.detach(), *(x.grad for x in leaves)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 1, 2)
    half = [x.to(dtype).requires_grad_() for x in inputs(options, seed=7)]
    single = [x.detach().float().requires_grad_() for x in half]
    with torch.autocast('cpu', dtype):
        output = v2(*half, options=options)
        output.sum().backward()
    expected = v2(*single, options=options)
    expected.sum().backward()
    torch.testing.assert_close(output, expected.to(dtype), rtol=0, atol=0)
    for x, y in zip(half, single, strict=True):
        torch.testing.assert_close(x.grad, y.grad.to(dtype), rtol=0, atol=0)


def test_no_image():
    # mmcv's wrappers refuse it, but the op does not.
    options = ConvOptions((3, 3), (1, 1), (1, 1), (1, 1), 1, 2)
    image, offset, mask, weight, bias = inputs(options, seed=8, batch=1)
    image, offset, mask = image[:0], offset[:0], mask[:0]
    sizes = {f'{name}_{axis}': 1 for name in SIZES for axis in 'hw'}
    sizes |= {'kernel_h': 3, 'kernel_w': 3, 'group': 1, 'deformable_group': 2}
    output, none = image.new_empty(0, 2, 5, 6), image.new_empty(0)
    tensors = image, weight, bias, none, offset, mask
    forward, backward = (
        OPS[f'modulated_deform_conv_{way}'] for way in ('forward', 'backward')
    )
    forward(*tensors, output, none, with_bias=True, **sizes)
    grads = [torch.ones_like(x) for x in (image, weight, bias, offset, mask)]
    backward(*tensors, none, *grads, output, with_bias=True, **sizes)
    torch.testing.assert_close(grads[1], torch.zeros_like(weight))
    torch.testing.assert_close(grads[2], torch.zeros_like(bias))


@pytest.mark.parametrize('name', ['DeformConv2dPack', 'ModulatedDeformConv2dPack'])
def test_mmcv_packs_start_as_plain_convolutions(name):
    layer = getattr(mmcv_ops, name)(
        4, 6, 3, stride=2, padding=1, deform_groups=2
    ).double()
    image = torch.randn(2, 4, 7, 8, dtype=torch.double, requires_grad=True)
    output = layer(image)
    half = 0.5 if name.startswith('Modulated') else 1.0  # sigmoid(0)
    expected = half * F.conv2d(image, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(output, expected)
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    (wanted,) = torch.autograd.grad((expected * weights).sum(), layer.weight)
    torch.testing.assert_close(layer.weight.grad, wanted)
    assert (layer.conv_offset.weight.grad != 0).any()


def test_mmcv_deform_conv_pads_an_image_below_the_kernel():
    layer = mmcv_ops.DeformConv2d(2, 3, 3, padding=1).double()
    image = torch.randn(1, 2, 2, 5, dtype=torch.double)
    output = layer(image, torch.zeros(1, 18, 2, 5, dtype=torch.double))
    torch.testing.assert_close(output, F.conv2d(image, layer.weight, padding=1))
