"""Attention as a function: the loop, its laws, and what sees nothing."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from references import attention as reference
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.attention import functional as room

typecheck = jaxtyped(typechecker=beartype)
attention = typecheck(room.attention)
attention_weights = typecheck(room.attention_weights)
padding_mask = typecheck(room.padding_mask)
causal_mask = typecheck(room.causal_mask)

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
seeds = st.integers(0, 10**6)


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def mask(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) < 0.6


@pytest.mark.paper('attention Eq. 1')
@settings(max_examples=40)
@given(sizes, seeds, st.booleans())
def test_attention_equals_the_loop(
    size: tuple[int, int, int], seed: int, masked: bool
) -> None:
    queries, keys, channels = size
    q, k, v = draw(seed, (queries, channels), (keys, channels), (keys, 3))
    may_see = mask(seed, queries, keys) if masked else None
    expected = reference.attention(q, k, v, may_see)
    assert_close(attention(q, k, v, may_see), expected)
    assert_close(attention_weights(q, k, may_see) @ v, expected)


@pytest.mark.paper('attention Eq. 1')
def test_attention_by_hand() -> None:
    # Scores 0 and ln 3 after the division by sqrt(4): a quarter and three quarters.
    q = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    k = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]).log1p()
    k[1, 0] = torch.tensor(3.0).log()
    v = torch.tensor([[0.0], [4.0]])
    assert_close(attention_weights(q, k), torch.tensor([[0.25, 0.75]]))
    assert_close(attention(q, k, v), torch.tensor([[3.0]]))


@settings(max_examples=25)
@given(sizes, seeds, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(
    size: tuple[int, int, int], seed: int, random: object
) -> None:
    queries, keys, channels = size
    q, k, v = draw(seed, (queries, channels), (keys, channels), (keys, 3))
    order = list(range(keys))
    random.shuffle(order)  # type: ignore[attr-defined]
    may_see = mask(seed, queries, keys)
    found = attention(q, k[order], v[order], may_see[:, order])
    assert_close(found, attention(q, k, v, may_see))


@settings(max_examples=25)
@given(sizes, seeds, st.randoms(use_true_random=False))
def test_reordered_tokens_give_reordered_results(
    size: tuple[int, int, int], seed: int, random: object
) -> None:
    _, tokens, channels = size
    (x,) = draw(seed, (tokens, channels))
    order = list(range(tokens))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert_close(attention(x[order], x[order], x[order]), attention(x, x, x)[order])


@settings(max_examples=25)
@given(sizes, seeds)
def test_weights_are_shares_of_what_is_seen(
    size: tuple[int, int, int], seed: int
) -> None:
    queries, keys, channels = size
    q, k = draw(seed, (queries, channels), (keys, channels))
    may_see = mask(seed, queries, keys)
    weights = attention_weights(q, k, may_see)
    assert_close(weights.sum(-1), may_see.any(-1).to(weights))
    assert not weights[~may_see].any()


def test_a_query_that_sees_nothing_gets_zeros_and_passes_no_gradient() -> None:
    q, k, v = (x.requires_grad_() for x in draw(0, (2, 3, 4), (2, 5, 4), (2, 5, 3)))
    may_see = torch.ones(2, 3, 5, dtype=torch.bool)
    may_see[0, 1] = False
    out = attention(q, k, v, may_see)
    assert_close(out[0, 1], torch.zeros(3).double())
    out[0, 1].sum().backward()
    for x in (q, k, v):
        assert_close(x.grad, torch.zeros_like(x))
    assert not attention_weights(q, k, may_see)[0, 1].any()


@pytest.mark.parametrize('masked', [False, True])
def test_large_scores_of_half_precision_are_finite(masked: bool) -> None:
    q, k = (300 * x for x in draw(2, (3, 64), (5, 64)))
    may_see = mask(3, 3, 5) if masked else None
    found = attention_weights(q.half(), k.half(), may_see)
    assert found.dtype == torch.float16
    exact = attention_weights(q.half().double(), k.half().double(), may_see)
    assert_close(found.double(), exact, rtol=0, atol=1e-3)


def test_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in draw(1, (3, 4), (5, 4), (5, 2)))
    may_see = mask(3, 3, 5)
    may_see[1] = False
    assert gradcheck(lambda *x: room.attention(*x, may_see), (q, k, v))
    assert gradcheck(lambda *x: room.attention_weights(*x, may_see), (q, k))


def test_masks_by_hand() -> None:
    found = padding_mask(torch.tensor([2, 0, 3]), 3)
    assert found.tolist() == [[False, False, True], [True] * 3, [False] * 3]
    assert causal_mask(3).tolist() == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]
