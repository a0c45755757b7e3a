"""RoIAlign of half precision, of nothing, and of RoIs that are wrong."""

from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from references import mmcv_roi_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops import roi_bins
from paperzoo.ops import roi_common as rois

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

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


@MODES
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(mode, dtype):
    image = image_of(3, 2, 4, 5, 6, dtype=torch.float32).to(dtype)
    table = some_rois(6).to(dtype)
    leaf = image.clone().requires_grad_()
    with torch.autocast('cpu', dtype):
        out = mmcv_ops.roi_align(leaf, table, 3, 1.0, 0, mode, True)
    assert out.dtype == dtype
    single = image.float().requires_grad_()
    wanted = mmcv_ops.roi_align(single, table.float(), 3, 1.0, 0, mode, True)
    torch.testing.assert_close(out, wanted.to(dtype), rtol=0, atol=0)
    weights = torch.ones_like(out)
    (gradient,) = torch.autograd.grad(out, leaf, weights)
    (expected,) = torch.autograd.grad(wanted, single, weights.float())
    torch.testing.assert_close(gradient, expected.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_the_gradient_of_a_maximum_far_out_finds_its_pixel(dtype):
    # Neither 2100.5 nor the number of a sample above 256 is a bfloat16.
    leaf = torch.zeros(1, 1, 3, 2200, dtype=dtype, requires_grad=True)
    with torch.no_grad():
        leaf[0, 0, 1, 2100] = 1
    for sampling in (0, 2):
        table = torch.tensor([[0.0, 1600, 0, 2112, 3], [0, 2098, 0, 2103, 3]])[
            sampling // 2 :
        ]
        out = mmcv_ops.roi_align(leaf, table, 1, 1.0, sampling, 'max', True)
        single = leaf.detach().float().requires_grad_()
        wanted = mmcv_ops.roi_align(single, table, 1, 1.0, sampling, 'max', True)
        (gradient,) = torch.autograd.grad(out.sum(), leaf)
        (expected,) = torch.autograd.grad(wanted.sum(), single)
        torch.testing.assert_close(gradient, expected.to(dtype))


@MODES
@SAMPLING
def test_no_roi(mode, sampling):
    image = image_of(5, 2, 3, 5, 6).requires_grad_()
    none = torch.zeros(0, 5).double()
    out = mmcv_ops.roi_align(image, none, (2, 4), 1.0, sampling, mode, True)
    assert out.shape == (0, 3, 2, 4)
    out.sum().backward()
    torch.testing.assert_close(image.grad, torch.zeros_like(image))


@MODES
def test_no_channel(mode):
    image = torch.zeros(2, 0, 5, 6, requires_grad=True)
    out = mmcv_ops.roi_align(image, some_rois(3).float(), (2, 4), 1.0, 0, mode, True)
    assert out.shape == (3, 0, 2, 4)
    out.sum().backward()
    assert image.grad.shape == image.shape


@pytest.mark.parametrize(('mode', 'nothing'), [('avg', 0.0), ('max', -10000.0)])
def test_a_roi_without_size_has_no_sample(mode, nothing):
    image = image_of(6, 1, 3, 5, 6).requires_grad_()
    table = torch.tensor([[0.0, 2, 2, 2, 4]]).double()
    out = mmcv_ops.roi_align(image, table, 2, 1.0, 0, mode, True)
    torch.testing.assert_close(out, torch.full_like(out, nothing))
    out.sum().backward()
    torch.testing.assert_close(image.grad, torch.zeros_like(image))


@pytest.mark.parametrize('edge', [float('nan'), float('inf')])
@pytest.mark.parametrize('aligned', [True, False])
def test_where_rois_are_not_checked_one_that_is_not_finite_is_zero(edge, aligned):
    table = torch.tensor([[0.0, 0, 0, 3, 3], [0, 0, 0, edge, 3]])
    with patch.object(rois, 'check_rois'):  # as on a GPU
        out = mmcv_ops.roi_align(
            torch.ones(1, 1, 4, 4), table, 2, 1.0, 0, 'avg', aligned
        )
    assert out.flatten().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    'row', [[2.0, 0, 0, 3, 3], [-1.0, 0, 0, 3, 3], [0.0, 0, float('nan'), 3, 3]]
)
def test_a_wrong_roi_is_named(row):
    table = torch.tensor([[0.0, 0, 0, 2, 2], row])
    with pytest.raises(UserError, match=r'rois\[1\].*below 2'):
        mmcv_ops.roi_align(torch.ones(2, 1, 4, 4), table, 2, 1.0, 2, 'avg', True)


@pytest.mark.parametrize('size', [(0, 5), (5, 0)])
def test_images_without_pixels_are_named(size):
    image = torch.zeros(1, 2, *size)
    with pytest.raises(UserError, match=rf'{size[0]} x {size[1]} pixels.* 1 RoI'):
        mmcv_ops.roi_align(image, torch.zeros(1, 5), 2, 1.0, 2, 'avg', True)
    out = mmcv_ops.roi_align(image, torch.zeros(0, 5), 2, 1.0, 2, 'avg', True)
    assert out.shape == (0, 2, 2, 2)


@MODES
@pytest.mark.parametrize('sampling', [-1, 0, 2])
def test_a_negative_size_is_sampled_backwards_as_on_a_gpu(mode, sampling):
    image = image_of(7, 1, 2, 5, 6).requires_grad_()
    rows = [[0, 4.3, 0.6, 1.2, 2.9], [0, 4, 4, 1, 0], [0, 0.5, 0.5, 4, 4]]
    table = torch.tensor(rows, dtype=torch.double)
    out = mmcv_ops.roi_align(image, table, (2, 3), 1.0, sampling, mode, True)
    wanted = reference.roi_align(image, rows, (2, 3), 1.0, sampling, mode, True)
    torch.testing.assert_close(out, wanted)
    found = (torch.autograd.grad(x.square().sum(), image) for x in (out, wanted))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize('far', [3e3, 1e9, 1e12, 1e18, 1e37])
def test_the_mean_of_a_roi_of_any_size(far):
    image = torch.ones(1, 1, 4, 6).requires_grad_()
    rows = [[0.0, 0, 0, 3, 3], [0, -far, 1, far, 3], [0, far / 2, far / 2, far, far]]
    out = mmcv_ops.roi_align(image, torch.tensor(rows), 1, 1.0, 0, 'avg', True)
    # A sample a pixel lies over the image from a pixel before it to one behind.
    share = 7 / (2 * far)
    for value, wanted in zip(out.flatten().tolist(), [1, share, 0], strict=True):
        # A billion of pixels further float64 no longer tells one sample from the next.
        assert value == pytest.approx(wanted, rel=0.2, abs=0 if far < 1e15 else 1e-16)
    (gradient,) = torch.autograd.grad(out[0].sum(), image)
    torch.testing.assert_close(gradient.sum(), torch.tensor(1.0))


def test_large_rois_equal_the_definition():
    image = image_of(8, 1, 2, 3, 4).requires_grad_()
    rows = [[0, -40.3, -60.1, 90.2, 71.7], [0, 0.3, 0.1, 2.9, 3.3], [0, 1, -99, 2, 88]]
    table = torch.tensor(rows, dtype=torch.double)
    wanted = reference.roi_align(image, rows, (1, 2), 1.0, 0, 'avg', True)
    for bound in (roi_bins.most_samples(image.shape), 10**6):
        with patch.object(roi_bins, 'most_samples', lambda shape, bound=bound: bound):
            out = mmcv_ops.roi_align(image, table, (1, 2), 1.0, 0, 'avg', True)
        torch.testing.assert_close(out, wanted)
        found = (
            torch.autograd.grad(x.square().sum(), image, retain_graph=True)
            for x in (out, wanted)
        )
        torch.testing.assert_close(*found)


def test_the_maximum_of_a_huge_roi_is_refused():
    table = torch.tensor([[0.0, 0, 0, 1e6, 1e6]])
    with pytest.raises(UserError, match=r'rois\[0\] has \d+ samples.*smaller RoIs'):
        mmcv_ops.roi_align(torch.ones(1, 1, 4, 4), table, 1, 1.0, 0, 'max', True)


@pytest.mark.slow
def test_more_samples_than_half_precision_can_number_are_named():
    image = torch.ones(1, 1, 4, 4, dtype=torch.half)
    table = torch.tensor([[0.0, 0, 0, 3, 3], [0, 0, 0, 200, 200]]).half()
    with pytest.raises(UserError, match=r'rois\[1\] has 40000 samples.*float32'):
        mmcv_ops.roi_align(image, table, 1, 1.0, 0, 'max', True)
    out = mmcv_ops.roi_align(image.float(), table.float(), 1, 1.0, 0, 'max', True)
    assert out.flatten().tolist() == [1, 1]
