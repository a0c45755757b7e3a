from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_more_ops as reference
from torch.autograd import gradcheck

from paperzoo.compat import mmcv_ext
from paperzoo.ops.psa_mask import psa_mask

mmcv_ext.apply()
PSAMask = import_module('mmcv.ops').PSAMask
KINDS = pytest.mark.parametrize('kind', ['collect', 'distribute'])

size = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(st.integers(0, 99), st.integers(1, 2), size, size, st.booleans())
@settings(max_examples=30, deadline=None)
def test_equals_the_definition_with_its_gradient(seed, batch, image, half, distribute):
    window = 2 * half[0] - 1, 2 * half[1] - 1
    torch.manual_seed(seed)
    mask = torch.randn(batch, window[0] * window[1], *image).double().requires_grad_()
    wanted = reference.psa_mask(mask, window, distribute)
    grad = torch.randn_like(wanted)
    (expected,) = torch.autograd.grad(wanted, mask, grad)
    layer = PSAMask('distribute' if distribute else 'collect', window)
    for op in (layer, lambda given: psa_mask(given, window, distribute)):
        found = op(mask)
        torch.testing.assert_close(found, wanted)
        (gradient,) = torch.autograd.grad(found, mask, grad)
        torch.testing.assert_close(gradient, expected)


@KINDS
def test_gradient(kind):
    mask = torch.randn(1, 9, 2, 3).double().requires_grad_()
    assert gradcheck(PSAMask(kind, (3, 3)), mask)


@KINDS
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_only_moves_numbers(kind, dtype):
    mask = torch.randn(1, 15, 2, 3).to(dtype)
    layer = PSAMask(kind, (3, 5))
    torch.testing.assert_close(layer(mask), layer(mask.float()).to(dtype))


@KINDS
def test_no_image(kind):
    assert PSAMask(kind, (3, 3))(torch.zeros(0, 9, 2, 3)).shape == (0, 6, 2, 3)
