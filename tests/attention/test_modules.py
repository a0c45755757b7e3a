"""Multi-head attention beside torch's and mmcv's, with the same weights."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn.bricks.transformer import MultiheadAttention as TheirsOfMmcv
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.attention import MultiHeadSelfAttention, causal_mask, padding_mask
from paperzoo.errors import UserError
from paperzoo.registry import MODELS


def pair(bias: bool = True) -> tuple[MultiHeadSelfAttention, nn.MultiheadAttention]:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, 2, bias=bias, batch_first=True).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    config = {'type': 'paperzoo.MultiHeadSelfAttention', 'embed_dims': 8}
    ours = MODELS.build({**config, 'num_heads': 2, 'bias': bias}).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def tokens(count: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, count, 8, dtype=torch.float64, requires_grad=True)


def assert_same(
    found: Tensor, expected: Tensor, ours: nn.Module, theirs: nn.Module, *inputs: Tensor
) -> None:
    """Compare results, and the gradients of all weights and inputs."""
    assert_close(found, expected)
    outer = torch.randn_like(found)
    left = torch.autograd.grad(found, [*ours.parameters(), *inputs], outer)
    right = torch.autograd.grad(expected, [*theirs.parameters(), *inputs], outer)
    for a, b in zip(left, right, strict=True):
        assert_close(a, b)


@pytest.mark.paper('attention "Multi-Head Attention"')
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('masks', ['none', 'padding', 'causal', 'both'])
def test_self_attention_equals_that_of_torch(bias: bool, masks: str) -> None:
    ours, theirs = pair(bias)
    x = tokens(5)
    given: dict[str, Any] = {}
    if masks in ('padding', 'both'):
        given['key_padding_mask'] = padding_mask(torch.tensor([5, 2, 3]), 5)
    if masks in ('causal', 'both'):
        given['attn_mask'] = causal_mask(5)
    expected, weights = theirs(x, x, x, average_attn_weights=False, **given)
    assert_same(ours(x, **given), expected, ours, theirs, x)
    assert_close(ours.attention_weights(x, **given), weights)


def test_cross_attention_equals_that_of_torch() -> None:
    ours, theirs = pair()
    x, memory, value = tokens(4), tokens(6), tokens(6)
    padding = padding_mask(torch.tensor([6, 1, 4]), 6)
    expected, _ = theirs(x, memory, value, key_padding_mask=padding)
    found = ours(x, memory, value, key_padding_mask=padding)
    assert_same(found, expected, ours, theirs, x, memory, value)
    # Without values of their own, the keys are the values.
    assert_close(ours(x, memory), theirs(x, memory, memory)[0])


def test_a_mask_for_each_of_the_batch() -> None:
    ours, theirs = pair()
    x = tokens(4)
    masks = torch.rand(3, 4, 4) < 0.5
    masks[:, :, 0] = False
    expected, _ = theirs(x, x, x, attn_mask=masks.repeat_interleave(2, dim=0))
    assert_same(ours(x, attn_mask=masks), expected, ours, theirs, x)


@pytest.mark.parametrize('kind', ['no key', 'same', 'as many', 'cross', 'more'])
def test_positions_are_added_as_in_mmcv(kind: str) -> None:
    ours, theirs = pair()
    wrapped = TheirsOfMmcv(8, 2, batch_first=True).double()
    theirs.batch_first = False  # mmcv turns the tokens itself
    wrapped.attn = theirs
    x, places, memory, memory_places = tokens(4), tokens(4), tokens(6), tokens(6)
    padding = padding_mask(torch.tensor([6, 2, 5]), 6)
    inputs, given = [x, places], {}
    keys = {'no key': None, 'same': x, 'as many': tokens(4)}
    key = keys.get(kind, memory)
    if kind == 'cross':
        inputs += [memory, memory_places]
        given = {'key_pos': memory_places, 'key_padding_mask': padding}
    elif kind in ('as many', 'more'):
        inputs.append(key)
    # mmcv adds what went in.
    expected = wrapped(x, key, query_pos=places, **given) - x
    found = ours(x, key, query_pos=places, **given)
    assert_same(found, expected, ours, wrapped, *inputs)


def test_a_sequence_of_padding_only_gets_the_bias_and_finite_gradients() -> None:
    ours, theirs = pair()
    x = tokens(3)
    padding = padding_mask(torch.tensor([3, 0, 2]), 3)
    found = ours(x, key_padding_mask=padding)
    assert theirs(x, x, x, key_padding_mask=padding)[0][1].isnan().all()
    assert_close(found[1], ours.out_proj.bias.expand(3, 8))
    found.sum().backward()
    assert_close(x.grad[1], torch.zeros_like(x[1]))
    for parameter in ours.parameters():
        assert parameter.grad.isfinite().all()


@settings(max_examples=15)
@given(st.integers(1, 5), st.integers(0, 4))
def test_padding_changes_nothing(length: int, more: int) -> None:
    ours, _ = pair()
    x = tokens(length + more, batch=1)
    mask = padding_mask(torch.tensor([length]), length + more)
    assert_close(ours(x, key_padding_mask=mask)[:, :length], ours(x[:, :length]))


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    layer = MultiHeadSelfAttention(8, 2, attn_drop=0.5)
    x = torch.randn(2, 6, 8)
    once, twice = layer(x), layer(x)
    assert not torch.equal(once, twice)
    layer.eval()
    assert_close(layer(x), layer(x), rtol=0, atol=0)


def test_gradients() -> None:
    ours, _ = pair()
    padding = padding_mask(torch.tensor([3, 0]), 3)
    x = tokens(3, batch=2)
    assert gradcheck(lambda y: ours(y, key_padding_mask=padding), x)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UserError, match='num_heads=3'):
        MultiHeadSelfAttention(8, 3)
    ours, _ = pair()
    with pytest.raises(UserError, match=r'torch\.float32'):
        ours(tokens(2), attn_mask=torch.zeros(2, 2))


@pytest.mark.parametrize(('batch', 'heads'), [(1, 2), (3, 2), (2, 4)])
def test_a_mask_for_each_head_as_torch_takes_them(batch: int, heads: int) -> None:
    torch.manual_seed(batch)
    ours = MultiHeadSelfAttention(8, heads)
    theirs = nn.MultiheadAttention(8, heads, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, 5, 8)
    masks = torch.rand(batch * heads, 5, 5) < 0.4
    masks[:, range(5), range(5)] = False
    expected, weights = theirs(x, x, x, attn_mask=masks, average_attn_weights=False)
    assert_close(ours(x, attn_mask=masks), expected)
    assert_close(ours.attention_weights(x, attn_mask=masks), weights)


def test_padding_as_torch_adds_it() -> None:
    ours, _ = pair()
    x = tokens(4, batch=2)
    padding = padding_mask(torch.tensor([3, 2]), 4)
    added = torch.zeros(2, 4).masked_fill(padding, -torch.inf)
    expected = ours(x, key_padding_mask=padding)
    assert_close(ours(x, key_padding_mask=added), expected)
    with pytest.raises(UserError, match='neither 0 nor minus infinity'):
        ours(x, key_padding_mask=added.clamp(min=-0.5))


@pytest.mark.parametrize(
    'mask', [torch.zeros(3, 4, 4), torch.zeros(4, 3), torch.zeros(1, 1, 4, 4)]
)
def test_masks_of_other_shapes_are_refused(mask: Tensor) -> None:
    ours, _ = pair()
    with pytest.raises(UserError, match=r'attn_mask has the shape .* use \(4, 4\), '):
        ours(tokens(4, batch=2), attn_mask=mask.bool())
    with pytest.raises(UserError, match=r'key_padding_mask has .* use \(2, 4\)'):
        ours(tokens(4, batch=2), key_padding_mask=mask.bool().flatten(1))
