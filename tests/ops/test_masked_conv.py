from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_more_ops as reference

from paperzoo.compat import mmcv_ext

mmcv_ext.apply()
masked_conv2d = import_module('mmcv.ops').masked_conv2d


def inputs(seed, size, kernel, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    shapes = (1, 3, *size), (1, *size), (2, 3, *kernel), (2,)
    tensors = [torch.randn(*shape, generator=generator) for shape in shapes]
    return [one.to(dtype) for one in tensors]


@given(
    st.integers(0, 99),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([(1, 1), (3, 3), (3, 1), (1, 5)]),
)
@settings(max_examples=25, deadline=None)
def test_equals_the_definition(seed, size, kernel):
    image, mask, weight, bias = inputs(seed, size, kernel)
    padding = kernel[0] // 2, kernel[1] // 2
    found = masked_conv2d(image, mask, weight, bias, padding)
    wanted = reference.masked_convolution(image[0], mask[0], weight, bias, padding)
    torch.testing.assert_close(found[0], wanted)


def test_an_empty_mask_is_zero_everywhere():
    image, mask, weight, bias = inputs(1, (3, 4), (3, 3))
    found = masked_conv2d(image, -mask.abs(), weight, bias, 1)
    torch.testing.assert_close(found, torch.zeros(1, 2, 3, 4).double())


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision(dtype):
    tensors = inputs(2, (4, 4), (3, 3), dtype)
    found = masked_conv2d(*tensors, 1)
    wanted = masked_conv2d(*(one.float() for one in tensors), 1)
    torch.testing.assert_close(found.float(), wanted, rtol=0.02, atol=0.05)
