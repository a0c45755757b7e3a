from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_roi_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops import roi_common as rois
from paperzoo.ops import roi_pool as module

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

# Quarters: inside, across and beyond the border of an image; some malformed.
low = st.integers(-12, 28).map(lambda n: n / 4)
extent = st.integers(-8, 30).map(lambda n: n / 4)


@st.composite
def boxes(draw) -> list[float]:
    left, top = draw(low), draw(low)
    index = draw(st.integers(0, 1))
    return [index, left, top, left + draw(extent), top + draw(extent)]


def image_of(
    seed: int, dtype: torch.dtype = torch.double, shape: tuple[int, ...] = (3, 5, 6)
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype)


ROIS = torch.tensor([[0.0, 0, 0, 3, 4], [1, 1.5, 2, 5, 3], [0, -3, -3, 9, 9]]).double()


@given(
    st.lists(boxes(), max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1.0, 0.5, 2.0]),
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_definition_with_its_gradient(table, bins, scale, shape, seed):
    image = image_of(seed, shape=shape).requires_grad_()
    expected = reference.roi_pool(image, table, bins, scale)
    actual = mmcv_ops.roi_pool(image, torch.tensor(table).view(-1, 5), bins, scale)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    if table:
        weights = torch.ones_like(expected).cumsum(-1)
        # The sum ties empty bins to the image, so that their gradient is 0.
        wanted = torch.autograd.grad(expected + 0 * image.sum(), image, weights)
        actual = torch.autograd.grad(actual, image, weights)
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize('op', [mmcv_ops.roi_pool, module.roi_pool])
def test_gradient(op):
    def pool(image: Tensor) -> Tensor:
        return op(image, ROIS, (2, 3), 0.7)

    assert torch.autograd.gradcheck(pool, (image_of(0).requires_grad_(),))


def test_by_hand():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    table = torch.tensor([[0.0, 0, 0, 3, 3]])
    out = mmcv_ops.roi_pool(image, table, 2, 1.0)
    torch.testing.assert_close(out[0, 0], torch.tensor([[5.0, 7], [13, 15]]))


def test_the_first_of_equal_pixels_gets_the_gradient():
    image = torch.ones(1, 1, 2, 2, requires_grad=True)
    mmcv_ops.roi_pool(image, torch.tensor([[0.0, 0, 0, 1, 1]]), 1, 1.0).sum().backward()
    torch.testing.assert_close(image.grad[0, 0], torch.tensor([[1.0, 0], [0, 0]]))


def test_a_roi_without_size_has_no_gradient():
    image = image_of(1).requires_grad_()
    out = mmcv_ops.roi_pool(image, torch.tensor([[0.0, 3, 3, 1, 1]]).double(), 2, 1.0)
    torch.testing.assert_close(out, torch.zeros_like(out))
    out.sum().backward()
    torch.testing.assert_close(image.grad, torch.zeros_like(image))


def test_strided_images():
    image = image_of(2)
    wanted = mmcv_ops.roi_pool(image, ROIS, 2, 1.0)
    channels_last = image.to(memory_format=torch.channels_last)
    every_second = image.repeat_interleave(2, dim=3)[..., ::2]
    for strided in (channels_last, every_second):
        leaf, contiguous = (
            strided.detach().requires_grad_(),
            image.clone().requires_grad_(),
        )
        out = mmcv_ops.roi_pool(leaf, ROIS, 2, 1.0)
        torch.testing.assert_close(out, wanted)
        out.square().sum().backward()
        mmcv_ops.roi_pool(contiguous, ROIS, 2, 1.0).square().sum().backward()
        torch.testing.assert_close(leaf.grad, contiguous.grad)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_chooses_the_same_pixels(dtype):
    leaf = image_of(3, torch.float32).to(dtype).requires_grad_()
    single = leaf.detach().float().requires_grad_()
    with torch.autocast('cpu', dtype):
        out = mmcv_ops.roi_pool(leaf, ROIS.to(dtype), 2, 1.0)
    wanted = mmcv_ops.roi_pool(single, ROIS.float(), 2, 1.0)
    torch.testing.assert_close(out, wanted.to(dtype), rtol=0, atol=0)
    out.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(leaf.grad, single.grad.to(dtype), rtol=0, atol=0)


def test_small_parts_give_the_same():
    image = image_of(4).repeat(1, 12, 1, 1)
    wanted = mmcv_ops.roi_pool(image, ROIS, (2, 3), 1.0)
    with patch.object(module, '_CHUNK', 1), patch.object(rois, '_BLOCK', 1):
        out = mmcv_ops.roi_pool(image, ROIS, (2, 3), 1.0)
    torch.testing.assert_close(out, wanted, rtol=0, atol=0)


def test_no_roi():
    image = image_of(5).requires_grad_()
    out = mmcv_ops.RoIPool((2, 4), 1.0)(image, torch.zeros(0, 5).double())
    assert out.shape == (0, 3, 2, 4)
    out.sum().backward()
    torch.testing.assert_close(image.grad, torch.zeros_like(image))


def test_no_channel():
    image = torch.zeros(2, 0, 5, 6, requires_grad=True)
    out = mmcv_ops.roi_pool(image, ROIS.float(), (2, 4), 1.0)
    assert out.shape == (3, 0, 2, 4)
    out.sum().backward()
    assert image.grad.shape == image.shape


@pytest.mark.parametrize('edge', [float('nan'), float('inf')])
def test_where_rois_are_not_checked_one_that_is_not_finite_does_no_harm(edge):
    table = torch.tensor([[0.0, 0, 0, 1, 1], [0, 0, 0, edge, 1], [0, edge, 0, 3, 1]])
    with patch.object(rois, 'check_rois'):  # as on a GPU
        out = mmcv_ops.roi_pool(torch.ones(1, 1, 4, 4), table, 2, 1.0)
    assert out[0].flatten().tolist() == [1, 1, 1, 1]
    assert set(out.flatten().tolist()) <= {0, 1}


def test_a_wrong_roi_is_named():
    table = torch.tensor([[0.0, 0, 0, 2, 2], [5, 0, 0, 1, 1]]).double()
    with pytest.raises(UserError, match=r'roi_pool: rois\[1\]'):
        mmcv_ops.roi_pool(image_of(6), table, 2, 1.0)


def test_images_without_pixels_are_named():
    with pytest.raises(UserError, match=r'roi_pool: the images have 4 x 0 pixels'):
        mmcv_ops.roi_pool(torch.zeros(1, 2, 4, 0), torch.zeros(1, 5), 2, 1.0)
