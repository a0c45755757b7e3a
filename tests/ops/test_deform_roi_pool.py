from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_more_ops as reference
from torch.autograd import gradcheck

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops.deform_roi_pool import deform_roi_pool

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

edge = st.integers(-12, 28).map(lambda n: n / 4 + 0.03)
roi = st.tuples(st.integers(0, 1), edge, edge, edge, edge)


def tensors(seed, rois, bins=(2, 3), dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.double)
    offset = torch.randn(rois, 2, *bins, generator=generator, dtype=torch.double)
    return image.to(dtype), offset.to(dtype)


@given(
    st.lists(roi, max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([-1, 0, 1, 2]),
    st.sampled_from([0.1, 1.0, -0.5]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_equals_the_definition(table, bins, scale, sampling, gamma, moved, seed):
    image, offset = tensors(seed, len(table), bins)
    image.requires_grad_()
    moves = offset if moved and table else None
    wanted = reference.deform_roi_pool(
        image, table, moves, bins, scale, sampling, gamma
    )
    rois = torch.tensor(table, dtype=torch.double).view(-1, 5)
    found = mmcv_ops.deform_roi_pool(image, rois, moves, bins, scale, sampling, gamma)
    torch.testing.assert_close(found, wanted)
    if wanted.requires_grad:
        grad = torch.sin(torch.arange(wanted.numel()).double()).view_as(wanted)
        (expected,) = torch.autograd.grad(wanted, image, grad)
        (gradient,) = torch.autograd.grad(found, image, grad)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize('sampling', [0, 2])
def test_gradients_of_image_and_offsets(sampling):
    image, offset = tensors(1, 2)
    rois = torch.tensor([[0, 1.1, 0.7, 4.2, 4.4], [1, 0.2, 1.3, 5.1, 3.9]]).double()
    leaves = image.requires_grad_(), offset.requires_grad_()
    for op in (deform_roi_pool, mmcv_ops.deform_roi_pool):

        def pooled(image, offset, op=op):
            return op(image, rois, offset, (2, 3), 1.0, sampling, 0.1)

        assert gradcheck(pooled, leaves)


def test_without_offsets_it_is_roi_align():
    image, _ = tensors(2, 1)
    rois = torch.tensor([[0, 0.4, -1, 6, 5], [1, 2, 2, 3.5, 9]]).double()
    found = mmcv_ops.deform_roi_pool(image, rois, None, (3, 2), 0.5, 2, 0.1)
    wanted = mmcv_ops.roi_align(image, rois, (3, 2), 0.5, 2, 'avg', True)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    image, offset = tensors(3, 1, dtype=dtype)
    rois = torch.tensor([[0.0, 1, 1, 4, 4]]).to(dtype)
    found = mmcv_ops.deform_roi_pool(image, rois, offset, (2, 3), 1.0, 0, 0.1)
    single = image.float(), rois.float(), offset.float()
    wanted = mmcv_ops.deform_roi_pool(*single, (2, 3), 1.0, 0, 0.1)
    torch.testing.assert_close(found, wanted.to(dtype))


def test_no_roi_and_a_roi_without_size():
    image, offset = tensors(4, 0)
    image.requires_grad_()
    none = mmcv_ops.deform_roi_pool(image, torch.zeros(0, 5).double(), offset, (2, 3))
    assert none.shape == (0, 3, 2, 3)
    flat = torch.tensor([[0.0, 2, 2, 2, 2]]).double()
    out = mmcv_ops.deform_roi_pool(image, flat, None, (2, 3))
    torch.testing.assert_close(out, torch.zeros_like(out))
    (none.sum() + out.sum()).backward()
    torch.testing.assert_close(image.grad, torch.zeros_like(image))


def test_a_wrong_roi_is_named():
    image, _ = tensors(5, 1)
    with pytest.raises(UserError, match=r'deform_roi_pool: rois\[0\].*below 2'):
        deform_roi_pool(image, torch.tensor([[2.0, 0, 0, 1, 1]]), None, (1, 1))


def test_mmcvs_packs_train():
    for name in ('DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'):
        pack = getattr(mmcv_ops, name)((2, 2), 3, deform_fc_channels=4)
        image = torch.randn(1, 3, 6, 6, requires_grad=True)
        pack(image, torch.tensor([[0.0, 1, 1, 5, 5]])).sum().backward()
        assert image.grad.abs().sum() > 0
        assert pack.offset_fc[-1].weight.grad is not None
