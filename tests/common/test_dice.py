"""The dice loss."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from mmdet.models.losses import DiceLoss as MMDetDiceLoss
from references import knet as reference
from torch.testing import assert_close

from paperzoo.common import DiceLoss, dice_loss
from paperzoo.errors import UserError

checked = jaxtyped(typechecker=beartype)(dice_loss)
MASK = st.lists(st.floats(0, 1), min_size=6, max_size=6)


def test_by_hand() -> None:
    pred = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.5, 0.0]])
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    # 2 * overlap over the sum of squares: 2/2, 2/3, 1/1.25
    assert_close(checked(pred, target, 0.0), torch.tensor([0.0, 1 / 3, 0.2]))
    # naive: over the sum of values: 2/2, 2/3, 1/1.5
    naive = checked(pred, target, 0.0, True)
    assert_close(naive, torch.tensor([0.0, 1 / 3, 1 / 3]))


@settings(max_examples=50, deadline=None)
@given(MASK, MASK, st.booleans())
def test_equals_the_loop(one: list[float], other: list[float], naive: bool) -> None:
    pred = torch.tensor([one], dtype=torch.float64)
    target = torch.tensor([other], dtype=torch.float64)
    expected = reference.dice(one, other, 1e-3, naive)
    found = checked(pred, target, 1e-3, naive)
    assert_close(found, torch.tensor([expected], dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(MASK, MASK, st.booleans())
def test_it_is_symmetric_and_within_zero_and_one(
    one: list[float], other: list[float], naive: bool
) -> None:
    pred = torch.tensor([one], dtype=torch.float64)
    target = torch.tensor([other], dtype=torch.float64)
    loss = checked(pred, target, 1e-3, naive)
    assert_close(loss, checked(target, pred, 1e-3, naive))
    # Up to rounding: equal masks may come out at -2e-16.
    assert -1e-12 <= loss.item() <= 1


@pytest.mark.parametrize('naive', [False, True])
def test_gradient(naive: bool) -> None:
    torch.manual_seed(0)
    pred = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 3, 4) > 0.5).double()
    assert torch.autograd.gradcheck(lambda p: checked(p, target, 1e-3, naive), pred)


@pytest.mark.parametrize('naive', [False, True])
@pytest.mark.parametrize('activate', [False, True])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    ('reduction', 'avg_factor'), [('mean', None), ('mean', 2.5), ('none', None)]
)
def test_interchangeable_with_mmdet(
    naive: bool,
    activate: bool,
    weighted: bool,
    reduction: str,
    avg_factor: float | None,
) -> None:
    torch.manual_seed(0)
    start, target = torch.rand(4, 5, 6), (torch.rand(4, 5, 6) > 0.6).float()
    weight = torch.rand(4) if weighted else None
    config = {'naive_dice': naive, 'activate': activate, 'loss_weight': 3.0}
    results = []
    for cls in (DiceLoss, MMDetDiceLoss):
        pred = start.clone().requires_grad_()
        loss = cls(**config)(
            pred,
            target,
            weight=weight,
            avg_factor=avg_factor,
            reduction_override=reduction,
        )
        loss.sum().backward()
        results.append((loss.detach(), pred.grad))
    assert_close(results[0], results[1])


def test_half_precision_does_not_overflow() -> None:
    pred = torch.full((1, 300, 300), 5.0, dtype=torch.float16)
    target = torch.ones(1, 300, 300)
    assert_close(DiceLoss()(pred, target), DiceLoss()(pred.float(), target))


def test_a_softmax_is_refused() -> None:
    with pytest.raises(UserError, match='use_sigmoid=True'):
        DiceLoss(use_sigmoid=False)
