from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_roi_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops import roi_align, roi_align_max, roi_bins, roi_common, sparse
from paperzoo.ops.roi_bins import two_taps, window_taps

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

# Quarters: inside, across and beyond the border of an image, and no size.
low = st.integers(-12, 28).map(lambda n: n / 4)
extent = st.integers(0, 30).map(lambda n: n / 4)


@st.composite
def boxes(draw) -> list[float]:
    left, top = draw(low), draw(low)
    index = draw(st.integers(0, 1))
    return [index, left, top, left + draw(extent), top + draw(extent)]


settings_of_op = st.tuples(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1.0, 0.5, 2.0]),
    st.integers(-2, 3),
    st.sampled_from(['avg', 'max']),
    st.booleans(),
)
MODES = pytest.mark.parametrize('mode', ['avg', 'max'])
SAMPLING = pytest.mark.parametrize('sampling', [0, 2])


def image_of(seed: int, *shape: int, dtype: torch.dtype = torch.double) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def some_rois(number: int, dtype: torch.dtype = torch.double) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    table = torch.rand(number, 5, generator=generator, dtype=dtype) * 6
    table[:, 0] = torch.arange(number) % 2
    table[:, 3:] += table[:, 1:3]
    return table


@given(
    st.lists(boxes(), max_size=3),
    settings_of_op,
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_equals_the_definition_with_its_gradient(table, arguments, shape, seed):
    image = image_of(seed, 2, *shape).requires_grad_()
    expected = reference.roi_align(image, table, *arguments)
    actual = mmcv_ops.roi_align(image, torch.tensor(table).view(-1, 5), *arguments)
    torch.testing.assert_close(actual, expected)
    if table:
        weights = image_of(seed + 1, *expected.shape)
        # The sum ties RoIs outside the image to it, so that their gradient is 0.
        wanted = torch.autograd.grad(expected + 0 * image.sum(), image, weights)
        torch.testing.assert_close(torch.autograd.grad(actual, image, weights), wanted)


@pytest.mark.parametrize('aligned', [True, False])
@MODES
@SAMPLING
@pytest.mark.parametrize('op', [mmcv_ops.roi_align, roi_align.roi_align])
def test_gradient(op, mode, sampling, aligned):
    def pool(image: Tensor) -> Tensor:
        return op(image, some_rois(3), (2, 1), 0.7, sampling, mode, aligned)

    assert torch.autograd.gradcheck(pool, (image_of(0, 2, 1, 4, 5).requires_grad_(),))


@given(
    st.integers(1, 6),
    st.integers(1, 7),
    st.floats(-9, 15),
    st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_a_window_is_the_sum_of_its_samples(number, size, start, spacing):
    positions = start + torch.arange(number + 2).double() * spacing
    samples, sizes = torch.tensor([[number]]), torch.tensor([size])
    window = window_taps(positions.view(1, 1, 1, -1), samples, sizes)
    assert window.number.item() == min(number + 1, size)
    taps = [x[..., : window.number].flatten() for x in window[:2]]
    dense, single = (
        torch.zeros(size).double().index_add(0, pixels.flatten(), weights.flatten())
        for pixels, weights in (taps, two_taps(positions[:number], size))
    )
    torch.testing.assert_close(dense, single)


@given(st.integers(0, 3), st.booleans(), st.floats(0, 6), st.floats(0, 6))
@settings(max_examples=40, deadline=None)
def test_the_mean_of_a_plane_is_its_value_at_the_centre_of_the_bin(
    sampling, aligned, left, top
):
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing='ij')
    image = (2 * y + 3 * x - 5).double()[None, None]
    roi = torch.tensor([[0, left + 1, top + 1, left + 4, top + 5]]).double()
    actual = mmcv_ops.roi_align(image, roi, (2, 3), 1.0, sampling, 'avg', aligned)
    shift = 0.5 if aligned else 0.0
    centre_y = top + 1 - shift + torch.tensor([1.0, 3.0]).double()
    centre_x = left + 1 - shift + torch.tensor([0.5, 1.5, 2.5]).double()
    expected = 2 * centre_y[:, None] + 3 * centre_x - 5
    torch.testing.assert_close(actual[0, 0], expected)


@MODES
@SAMPLING
@pytest.mark.parametrize('limit', [1, 40])
def test_small_parts_give_the_same(mode, sampling, limit):
    image, table = image_of(1, 2, 70, 5, 6), some_rois(9)
    results = []
    for small in (False, True):
        leaf = image.clone().requires_grad_()
        size = limit if small else 1 << 20
        with (
            patch.object(roi_bins, '_CHUNK', size),
            patch.object(roi_bins, '_LIMIT', size),
            patch.object(sparse, '_SUMS', size),
            patch.object(roi_align_max, '_CHUNK', size),
            patch.object(roi_align_max, '_GRADIENTS', size),
            patch.object(roi_align_max, '_LIMIT', size),
            patch.object(roi_common, '_BLOCK', size),
        ):
            out = mmcv_ops.roi_align(leaf, table, (2, 3), 1.0, sampling, mode, True)
            out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


@SAMPLING
@pytest.mark.parametrize(
    'dtype', [torch.half, torch.bfloat16, torch.float32, torch.double]
)
def test_the_backward_of_kept_entries_is_that_of_entries_found_anew(sampling, dtype):
    image, table = image_of(5, 2, 3, 5, 6, dtype=dtype), some_rois(7, dtype)
    out = image.new_zeros(7, 3, 2, 3)
    arguments = (2, 3, 1.0, sampling, 1, True)
    unused = [image.new_zeros(0), image.new_zeros(0)]
    roi_align.roi_align_forward(image, table, out, *unused, *arguments)
    assert [buffer.numel() for buffer in unused] == [0, 0]
    used = [image.new_zeros(0), image.new_zeros(0)]
    with torch.no_grad():
        leaf = image.clone().requires_grad_()
        roi_align.roi_align_forward(leaf, table, out, *used, *arguments)
    assert [buffer.dtype for buffer in used if buffer.numel() > 0] == [dtype, dtype]
    gradients = []
    for buffers in (unused, used):
        gradient = torch.zeros_like(image)
        roi_align.roi_align_backward(out, table, *buffers, gradient, *arguments)
        gradients.append(gradient)
    assert gradients[0].any()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_a_training_step_finds_the_entries_once():
    image = image_of(5, 2, 3, 5, 6).requires_grad_()
    with patch.object(
        roi_align, 'mean_matrices', wraps=roi_align.mean_matrices
    ) as found:
        mmcv_ops.roi_align(image, some_rois(7), 2, 1.0, 0, 'avg', True).sum().backward()
    assert found.call_count == 1


@MODES
@SAMPLING
def test_strided_images(mode, sampling):
    table = some_rois(5)
    image = image_of(2, 2, 3, 5, 6)
    wanted = mmcv_ops.roi_align(image, table, 2, 1.0, sampling, mode, True)
    channels_last = image.to(memory_format=torch.channels_last)
    every_second = image.repeat_interleave(2, dim=3)[..., ::2]
    for strided in (channels_last, every_second, image.flip(0).flip(0)):
        leaf = strided.detach().requires_grad_()
        out = mmcv_ops.roi_align(leaf, table, 2, 1.0, sampling, mode, True)
        torch.testing.assert_close(out, wanted)
        out.transpose(2, 3).square().sum().backward()
        contiguous = image.clone().requires_grad_()
        out = mmcv_ops.roi_align(contiguous, table, 2, 1.0, sampling, mode, True)
        out.square().sum().backward()
        torch.testing.assert_close(leaf.grad, contiguous.grad)


def test_rois_of_another_dtype_than_the_image():
    image, table = image_of(4, 2, 3, 5, 6, dtype=torch.float32), some_rois(4)
    out = mmcv_ops.roi_align(image, table, 2, 1.0, 0, 'avg', True)
    wanted = mmcv_ops.roi_align(image, table.float(), 2, 1.0, 0, 'avg', True)
    torch.testing.assert_close(out, wanted)


def test_a_roi_outside_is_zero():
    image = image_of(7, 1, 3, 5, 6) + 9
    table = torch.tensor([[0.0, 20, 2, 29, 4], [0, -30, -30, -9, -9]]).double()
    out = mmcv_ops.roi_align(image, table, 2, 1.0, 2, 'avg', True)
    torch.testing.assert_close(out, torch.zeros_like(out))


def test_a_roi_far_larger_than_the_image_counts_the_outside_as_zero():
    image = torch.ones(1, 1, 4, 4).double()
    table = torch.tensor([[0.0, -98, -98, 102, 102]]).double()
    out = mmcv_ops.roi_align(image, table, 1, 1.0, 0, 'avg', False)
    # 200 x 200 samples at half pixels; -0.5 .. 3.5 and the border up to a pixel out.
    torch.testing.assert_close(out, torch.full_like(out, 5 * 5 / 200**2))


def test_the_maximum_passes_over_what_is_not_a_number():
    image = torch.tensor([[float('nan'), 1, 2], [3, 4, 5], [6, 7, 8]])[None, None]
    table = torch.tensor([[0.0, 0, 0, 3, 3]])
    out = mmcv_ops.roi_align(image, table, 1, 1.0, 0, 'max', True)
    torch.testing.assert_close(out, torch.full_like(out, 8))


def test_mmdets_extractor_uses_it():
    extractor = import_module('mmdet.models').SingleRoIExtractor(
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        out_channels=3,
        featmap_strides=[4, 8],
    )
    levels = [image_of(8, 2, 3, n, n, dtype=torch.float32) for n in (64, 32)]
    table = torch.tensor([[0.0, 3, 5, 60, 50], [1, 0, 0, 200, 150], [1, 9, 9, 40, 40]])
    out = extractor(levels, table)
    for row, level in enumerate((0, 1, 0)):
        wanted = reference.roi_align(
            levels[level],
            table[row : row + 1].tolist(),
            (7, 7),
            0.25 / 2**level,
            0,
            'avg',
            True,
        )
        torch.testing.assert_close(out[row : row + 1], wanted)
