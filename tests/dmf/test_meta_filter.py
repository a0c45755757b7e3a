"""Offsets, sampled filters and their application, against loops, mmcv and laws."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from mmcv.ops import deform_conv2d
from references import dmf as reference
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.dmf import meta_filter as room
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

typecheck = jaxtyped(typechecker=beartype)
sampling_offsets = typecheck(room.sampling_offsets)
sampled_filters = typecheck(room.sampled_filters)
plain_filters = typecheck(room.plain_filters)
apply_filters = typecheck(room.apply_filters)
interleave_taps = typecheck(room.interleave_taps)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.paper('dmf "Dynamic Sampling"')
def test_offsets_are_the_convolution_of_both_maps() -> None:
    query, support, weight = rand(3, 4, 5, 6), rand(2, 4, 5, 6), rand(18, 8, 5, 5)
    found = sampling_offsets(query, support, weight)
    for q in range(3):
        for k in range(2):
            both = torch.cat((query[q], support[k]))[None]
            assert_close(found[q, k], F.conv2d(both, weight, padding=2)[0])


@pytest.mark.paper('dmf "Dynamic Sampling"')
@pytest.mark.parametrize('size', [1, 3])
def test_sampled_filters_equal_the_loop(size: int) -> None:
    support, weight = rand(2, 3, 3, 4), rand(5, 3, size, size)
    offsets = rand(2, 2, 2 * size**2, 3, 4) * 2
    found = sampled_filters(support, offsets, weight)
    for q in range(2):
        for k in range(2):
            expected = reference.sampled_filter(support[k], offsets[q, k], weight)
            assert_close(found[q, k].movedim(-1, 0), expected)


def test_sampled_filters_and_gradients_equal_mmcv() -> None:
    support, weight = rand(3, 4, 5, 6), rand(7, 4, 3, 3)
    offsets = rand(2, 3, 18, 5, 6)
    leaves = [x.requires_grad_() for x in (support, offsets, weight)]
    found = sampled_filters(*leaves).movedim(-1, 2).flatten(0, 1)
    pairs = support.repeat(2, 1, 1, 1), offsets.flatten(0, 1)
    expected = deform_conv2d(*pairs, weight, 1, 1, 1, 1, 1, False, 6)
    assert_close(found, expected)
    cotangent = rand(*found.shape)
    ours = torch.autograd.grad(found, leaves, cotangent)
    theirs = torch.autograd.grad(expected, leaves, cotangent)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other)


def test_without_offsets_sampling_is_a_convolution() -> None:
    support, weight = rand(2, 3, 4, 5), rand(6, 3, 3, 3)
    still = torch.zeros(1, 2, 18, 4, 5, dtype=torch.float64)
    plain = plain_filters(support, weight)
    assert_close(sampled_filters(support, still, weight), plain)
    assert_close(plain[0], F.conv2d(support, weight, padding=1).permute(0, 2, 3, 1))


@pytest.mark.paper('dmf "Dynamic Meta-filter"')
@settings(max_examples=25)
@given(
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_application_equals_the_loop(
    size: int, groups: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x, filters = rand(4, height, width), rand(height, width, groups, size**2)
    assert_close(apply_filters(x, filters), reference.filtered(x, filters))


@pytest.mark.parametrize('size', [1, 3])
def test_an_identity_filter_leaves_the_map(size: int) -> None:
    x, filters = rand(2, 6, 4, 5), torch.zeros(1, 4, 5, 3, size**2).double()
    filters[..., size**2 // 2] = 1
    assert_close(apply_filters(x, filters), x, rtol=0, atol=0)


def test_maps_and_filters_broadcast() -> None:
    x, filters = rand(3, 1, 4, 2, 3), rand(1, 5, 2, 3, 2, 9)
    found = apply_filters(x, filters)
    assert found.shape == (3, 5, 4, 2, 3)
    assert_close(found[2, 4], apply_filters(x[2, 0], filters[0, 4]))


def test_the_authors_reading_of_memory_by_hand() -> None:
    one_tap = rand(2, 3, 4, 2, 1)
    assert_close(interleave_taps(one_tap), one_tap, rtol=0, atol=0)
    # 1x2 positions, 1 group, 9 taps: memory holds the taps of the first position at
    # even places and of the second at odd ones.
    value = torch.arange(18.0).view(9, 2).T.reshape(1, 2, 1, 9)
    assert_close(interleave_taps(value).flatten(), torch.arange(18.0))


def test_gradients() -> None:
    query, support, kernel = rand(2, 2, 3, 3), rand(2, 2, 3, 3), rand(18, 4, 5, 5)
    weight = rand(2, 2, 3, 3)
    for leaf in (query, support, kernel, weight):
        leaf.requires_grad_()

    def filters(*leaves: Tensor) -> Tensor:
        offsets = sampling_offsets(leaves[0], leaves[1], 0.1 * leaves[2])
        return sampled_filters(leaves[1], offsets, leaves[3])

    # 1800 weights one by one would take long: along random directions.
    assert gradcheck(filters, (query, support, kernel, weight), fast_mode=True)
    assert gradcheck(plain_filters, (support, weight))
    for taps in (1, 9):
        own = rand(2, 3, 3, 1, taps).requires_grad_()
        assert gradcheck(apply_filters, (query, own))


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('dynamic', [True, False])
def test_module(kernel: int, dynamic: bool) -> None:
    config = dict(groups=2, kernel=kernel, dynamic_sampling=dynamic)
    module = MODELS.build(
        dict(type='paperzoo.DynamicMetaFilter', in_channels=4, **config)
    )
    query, support = torch.randn(3, 4, 5, 6), torch.randn(2, 4, 5, 6)
    filters = module(query, support)
    assert filters.shape == (3 if dynamic else 1, 2, 5, 6, 2, kernel**2)
    assert 0 < filters.min() < filters.max() < 1
    if not dynamic:
        # Output channel `group * taps + tap` is the filter of that tap.
        expected = plain_filters(support, module.filter_conv.weight).sigmoid()
        assert_close(filters[..., 1, 0], expected[..., kernel**2])
    keys = {'filter_conv.weight', 'offset_conv.weight'}
    assert set(module.state_dict()) == (keys if dynamic else {'filter_conv.weight'})


def test_half_precision_does_not_reach_the_positions() -> None:
    module = room.DynamicMetaFilter(4, groups=2)
    query, support = torch.randn(3, 4, 5, 6), torch.randn(2, 4, 5, 6)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = module(query, support)
    assert_close(found, module(query, support), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(groups=3), 'groups=3 does not divide in_channels=4'),
        (dict(groups=2, kernel=2), 'kernel=2.*odd'),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        room.DynamicMetaFilter(4, **wrong)
