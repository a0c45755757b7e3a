from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops import ms_deform_attn

mmcv_ext.apply()
mmcv_attention = import_module('mmcv.ops.multi_scale_deform_attn')


def inputs(
    shapes: list[tuple[int, int]],
    seed: int,
    batch: int = 2,
    queries: int = 3,
    heads: int = 2,
    points: int = 2,
    channels: int = 3,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Value, shapes, starts, locations (some outside the image) and attention."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    sizes = torch.tensor(shapes)
    keys = sizes.prod(1)
    value = normal(batch, int(keys.sum()), heads, channels)
    locations = normal(batch, queries, heads, len(shapes), points, 2) * 0.5 + 0.5
    attention = normal(batch, queries, heads, len(shapes), points)
    return value, sizes, keys.cumsum(0) - keys, locations, attention


def by_definition(value, shapes, starts, locations, attention):
    output = value.new_zeros(*locations.shape[:3], value.size(3))
    for n, q, h, level, p in np.ndindex(*locations.shape[:-1]):
        height, width = shapes[level].tolist()
        first = int(starts[level])
        image = value[n, first : first + height * width, h].view(height, width, -1)
        x, y = (locations[n, q, h, level, p] * torch.tensor([width, height])).tolist()
        for c, channel in enumerate(image.unbind(-1)):
            seen = reference.bilinear(channel, y - 0.5, x - 0.5)
            output[n, q, h, c] += attention[n, q, h, level, p] * seen
    return output.flatten(2)


def attend(*tensors: Tensor) -> Tensor:
    """The op as a function with gradients, through mmcv's own wrapper."""
    return mmcv_attention.MultiScaleDeformableAttnFunction.apply(*tensors, 64)


sizes = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3
)
small = st.integers(1, 3)


@pytest.fixture(params=[2**20, 1], ids=['whole', 'query by query'])
def block(request, monkeypatch) -> int:
    monkeypatch.setitem(ms_deform_attn._BLOCK, 'cpu', request.param)
    return request.param


@given(sizes, st.integers(0, 999), small, small, small)
@settings(max_examples=30, deadline=None)
def test_equals_the_definition(shapes, seed, queries, heads, points):
    tensors = inputs(shapes, seed, batch=1, queries=queries, heads=heads, points=points)
    torch.testing.assert_close(attend(*tensors), by_definition(*tensors))


@given(sizes, st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_equals_mmcvs_python_version_with_gradients(shapes, seed):
    value, sizes, starts, locations, attention = inputs(shapes, seed)
    leaves = [value, locations, attention]
    ours, theirs = ([x.clone().requires_grad_() for x in leaves] for _ in range(2))
    output = attend(ours[0], sizes, starts, *ours[1:])
    expected = mmcv_attention.multi_scale_deformable_attn_pytorch(
        theirs[0], sizes, *theirs[1:]
    )
    torch.testing.assert_close(output, expected)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output).double()
    grads = torch.autograd.grad((output * weights).sum(), ours)
    torch.testing.assert_close(
        grads, torch.autograd.grad((expected * weights).sum(), theirs)
    )


@pytest.mark.parametrize('op', [attend, ms_deform_attn.ms_deform_attn])
def test_gradients(block, op):
    value, sizes, starts, *rest = inputs([(3, 2), (1, 4)], seed=1)
    leaves = [x.requires_grad_() for x in (value, *rest)]
    assert torch.autograd.gradcheck(
        lambda value, *rest: op(value, sizes, starts, *rest), leaves
    )


def test_by_hand():
    # One head, one point. The centre of a 2 x 2 map sees the mean of its four pixels.
    value = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 4, 1, 1)
    shapes, starts = torch.tensor([[2, 2]]), torch.tensor([0])
    centre, corner = [0.5, 0.5], [1.0, 0.0]  # (x, y): right, top
    locations = torch.tensor([centre, corner]).view(1, 2, 1, 1, 1, 2)
    attention = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1, 1)
    output = attend(value, shapes, starts, locations, attention)
    torch.testing.assert_close(output, torch.tensor([[[6.0], [0.5]]]))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    value, sizes, starts, *rest = inputs([(3, 4), (2, 2)], seed=2)
    half = [x.to(dtype).requires_grad_() for x in (value, *rest)]
    single = [x.detach().float().requires_grad_() for x in half]
    outputs = []
    for leaves in (half, single):
        with torch.autocast('cpu', dtype):
            outputs.append(attend(leaves[0], sizes, starts, *leaves[1:]))
        outputs[-1].sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1].to(dtype), rtol=0, atol=0)
    for x, y in zip(half, single, strict=True):
        torch.testing.assert_close(x.grad, y.grad.to(dtype), rtol=0, atol=0)


def test_strided_tensors(block):
    value, sizes, starts, *rest = inputs([(3, 4), (2, 2)], seed=3)
    results = []
    for strided in (False, True):
        leaves = []
        for x in (value, *rest):
            if strided:
                x = torch.stack((x, x), dim=-1)[..., 0]
            leaves.append(x.detach().requires_grad_())
        output = attend(leaves[0], sizes, starts, *leaves[1:])
        output.pow(2).sum().backward()
        results.append([output.detach(), *(x.grad for x in leaves)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('empty', ['batch', 'queries'])
def test_nothing_to_see(empty):
    value, sizes, starts, locations, attention = inputs([(3, 4)], seed=4)
    if empty == 'batch':
        value, locations, attention = value[:0], locations[:0], attention[:0]
    else:
        locations, attention = locations[:, :0], attention[:, :0]
    value.requires_grad_()
    output = attend(value, sizes, starts, locations, attention)
    assert output.shape == (len(value), locations.size(1), 6)
    output.sum().backward()
    torch.testing.assert_close(value.grad, torch.zeros_like(value))


@pytest.mark.parametrize('empty', ['points', 'heads', 'channels'])
def test_nothing_to_look_at_is_zero(empty):
    value, sizes, starts, *rest = inputs([(3, 4)], seed=4, **{empty: 0})
    leaves = [x.requires_grad_() for x in (value, *rest)]
    output = attend(leaves[0], sizes, starts, *leaves[1:])
    torch.testing.assert_close(output, value.new_zeros(2, 3, value[0, 0].numel()))
    output.sum().backward()
    for x in leaves:
        torch.testing.assert_close(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize('far', [float('nan'), float('inf'), 1e30, -1e30])
def test_a_location_far_outside_sees_zero(far):
    value, sizes, starts, locations, attention = inputs([(3, 4)], seed=5)
    locations[0, 1, 0] = far
    expected = attend(value, sizes, starts, locations.nan_to_num(9, 9, 9), attention)
    leaves = [x.requires_grad_() for x in (value, locations, attention)]
    output = attend(value, sizes, starts, locations, attention)
    torch.testing.assert_close(output, expected)
    assert output[0, 1, :3].tolist() == [0, 0, 0]
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in leaves)
    assert locations.grad[0, 1, 0].abs().max() == 0
