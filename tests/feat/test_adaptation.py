"""Functions of sets: the equation, order, gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.common.few_shot import prototypes
from paperzoo.feat import SetToSet


@pytest.mark.paper('feat "Embedding Adaptation via Set-to-set Functions"')
@pytest.mark.parametrize('norm', [False, True])
def test_members_get_what_attention_takes_from_the_others(norm: bool) -> None:
    torch.manual_seed(0)
    layer = SetToSet(4, norm=norm).double().eval()
    members = torch.randn(3, 4).double()
    query, key, value = layer.attention.in_proj_weight.chunk(3)
    rows = []
    for one in members:
        agree = [(query @ one) @ (key @ other) / 4**0.5 for other in members]
        powers = [score.exp() for score in agree]
        taken = sum(
            power / sum(powers) * (value @ other)
            for power, other in zip(powers, members, strict=True)
        )
        row = one + layer.attention.out_proj.weight @ taken
        if norm:
            row = (row - row.mean()) / (row.var(correction=0) + 1e-5).sqrt()
        rows.append(row)
    assert_close(layer(members[None])[0], torch.stack(rows))


@given(st.integers(0, 99), st.permutations(range(5)))
def test_order_of_the_set_is_that_of_the_result(seed: int, order: list[int]) -> None:
    torch.manual_seed(seed)
    layer, members = SetToSet(4, num_heads=2).double(), torch.randn(2, 5, 4).double()
    assert_close(layer(members[:, order]), layer(members)[:, order])


def test_dropout_is_of_what_is_added_and_in_training_only() -> None:
    layer, members = SetToSet(4, dropout=1.0), torch.randn(1, 3, 4)
    assert_close(layer.train()(members), members)
    assert (layer.eval()(members) - members).abs().max() > 1e-3


@pytest.mark.paper('feat "Contrastive Learning of Set-to-Set Functions"')
def test_centers_are_means() -> None:
    members = torch.tensor([[1.0, 0], [2, 2], [3, 4]]).double()
    labels = torch.tensor([1, 0, 1])
    centers = prototypes(members, labels, 2)
    assert_close(centers, torch.tensor([[2.0, 2], [2, 2]]).double())
    assert_close(prototypes(members.flip(0), labels.flip(0), 2), centers)
    assert gradcheck(lambda x: prototypes(x, labels, 2), members.requires_grad_())
