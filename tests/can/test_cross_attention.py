"""Cross attention: numbers by hand, laws, gradients."""

import pytest
import torch
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.can import MetaFusion
from paperzoo.can import cross_attention as room
from paperzoo.errors import UserError

typecheck = jaxtyped(typechecker=beartype)
correlation = typecheck(room.correlation)
attention_map = typecheck(room.attention_map)
attended_mean = typecheck(room.attended_mean)
position_scores = typecheck(room.position_scores)


@pytest.mark.paper('can "Cross Attention Module"')
def test_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 2)
    other = torch.tensor([[3.0, 5.0], [4.0, 0.0]]).view(1, 2, 1, 2)
    matrix = correlation(one, other)
    assert_close(matrix[0, 0], torch.tensor([[0.6, 1.0], [0.8, 0.0]]))
    # Fused by (1, 1): 1.6 and 0.8; at temperature 0.8 one apart.
    weights = attention_map(matrix, torch.ones(1, 1, 2), 0.8)
    share = 1 / (1 + torch.tensor(-1.0).exp())
    assert_close(weights[0, 0], torch.stack([share, 1 - share]))
    mean = attended_mean(one, weights, of='class')
    assert_close(mean[0, 0], torch.stack([1 + share, 2 * (2 - share)]) / 2)


@given(st.floats(0.1, 10), st.integers(0, 99))
def test_attention_sees_directions_only_and_adds_to_one(size: float, seed: int) -> None:
    torch.manual_seed(seed)
    one, other = torch.randn(2, 3, 2, 2).double(), torch.randn(4, 3, 2, 2).double()
    matrix = correlation(one, other)
    assert_close(correlation(size * one, other), matrix)
    assert_close(correlation(other, one), matrix.transpose(0, 1).mT)
    weights = attention_map(matrix, torch.randn(4, 2, 4).double(), size)
    assert_close(weights.sum(-1), torch.ones(4, 2).double())


def test_an_attended_position_has_the_score_of_the_bare_one() -> None:
    torch.manual_seed(0)
    query, means = torch.randn(3, 4, 2, 2), torch.randn(3, 2, 4)
    attention = torch.rand(3, 1, 2, 2)
    scores = position_scores(query, means)
    assert_close(position_scores(query * (1 + attention), means), scores)
    assert scores.abs().max() <= 1


def test_gradients() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 1, 2).double(), torch.randn(2, 3, 1, 2).double()
    kernel = torch.randn(2, 2, 2).double()

    def means(*leaves: torch.Tensor) -> torch.Tensor:
        weights = attention_map(correlation(*leaves[:2]), leaves[2], 0.5)
        return position_scores(leaves[1], attended_mean(leaves[0], weights, of='class'))

    leaves = [leaf.requires_grad_() for leaf in (one, other, kernel)]
    assert gradcheck(means, leaves)


def test_the_kernel_is_that_of_the_mean_row() -> None:
    torch.manual_seed(0)
    fusion = MetaFusion(4, reduction=2)
    matrix = torch.rand(2, 3, 4, 4)
    kernel = fusion(matrix)
    assert kernel.shape == (2, 3, 4)
    assert_close(fusion(matrix[..., torch.tensor([2, 0, 3, 1]), :]), kernel)


@pytest.mark.parametrize('reduction', [0, 5])
def test_a_reduction_that_leaves_nothing_is_refused(reduction: int) -> None:
    with pytest.raises(UserError, match=f'reduction={reduction} leaves nothing'):
        MetaFusion(4, reduction=reduction)
