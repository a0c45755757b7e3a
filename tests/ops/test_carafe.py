from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_more_ops as reference
from torch.autograd import gradcheck

from paperzoo.compat import mmcv_ext
from paperzoo.ops.carafe import carafe

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

OPS = pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])


def inputs(seed, batch, groups, channels, size, kernel, scale, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    shapes = (
        (batch, groups * channels, height, width),
        (batch, groups * kernel**2, height * scale, width * scale),
    )
    return [
        torch.randn(*shape, generator=generator, dtype=torch.double).to(dtype)
        for shape in shapes
    ]


@given(
    st.integers(0, 99),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_equals_the_definition_with_its_gradients(
    seed, batch, groups, channels, size, kernel, scale
):
    tensors = inputs(seed, batch, groups, channels, size, kernel, scale)
    leaves = [one.requires_grad_() for one in tensors]
    wanted = reference.carafe(*leaves, kernel, groups, scale)
    grad = torch.cos(torch.arange(wanted.numel()).double()).view_as(wanted)
    expected = (
        torch.autograd.grad(wanted, leaves, grad, materialize_grads=True)
        if (wanted.requires_grad)
        else [torch.zeros_like(one) for one in leaves]
    )
    found = carafe(*leaves, kernel, groups, scale)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, grad), tuple(expected)
    )


def test_gradient():
    leaves = [one.requires_grad_() for one in inputs(1, 1, 2, 1, (2, 3), 3, 2)]
    assert gradcheck(lambda *given: carafe(*given, 3, 2, 2), leaves)


def test_mmcvs_functions_use_it():
    tensors = inputs(2, 2, 2, 3, (4, 3), 5, 2)
    results = []
    for op in (carafe, mmcv_ops.carafe):
        leaves = [one.clone().requires_grad_() for one in tensors]
        out = op(*leaves, 5, 2, 2)
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    torch.testing.assert_close(*results)
    naive = mmcv_ops.carafe_naive(*tensors, 5, 2, 2)
    torch.testing.assert_close(naive, results[0][0].detach())


@OPS
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_summed_in_float32(name, dtype):
    tensors = inputs(3, 1, 1, 2, (3, 3), 3, 2, dtype)
    found = getattr(mmcv_ops, name)(*tensors, 3, 1, 2)
    wanted = getattr(mmcv_ops, name)(*(one.float() for one in tensors), 3, 1, 2)
    torch.testing.assert_close(found, wanted.to(dtype), rtol=0, atol=0)


@OPS
def test_no_image(name):
    tensors = inputs(4, 0, 1, 2, (3, 3), 3, 2)
    assert getattr(mmcv_ops, name)(*tensors, 3, 1, 2).shape == (0, 2, 6, 6)


def test_mmcvs_upsampler_trains():
    pack = mmcv_ops.CARAFEPack(8, 2)
    image = torch.randn(1, 8, 4, 5, requires_grad=True)
    pack(image).sum().backward()
    assert all(weight.grad is not None for weight in pack.parameters())
    # Kernels that sum to 1 leave a plane as it is, away from the border.
    plane = pack(torch.ones(1, 8, 9, 9))
    torch.testing.assert_close(plane[..., 6:12, 6:12], torch.ones(1, 8, 6, 6))
