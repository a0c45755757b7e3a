"""The focal loss and the weighting that all losses share."""

import subprocess
import sys
from math import log

import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from mmdet.models.losses import FocalLoss as MMDetFocalLoss
from mmdet.registry import MODELS as MMDET_MODELS
from references import fcos as reference
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.common import FocalLoss, sigmoid_focal_loss, weighted_reduction
from paperzoo.errors import UserError

# A whole number may stand where a float is asked for, as everywhere in Python.
typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
checked = jaxtyped(typechecker=typecheck)(sigmoid_focal_loss)
LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=8)


def test_at_logit_zero_by_hand() -> None:
    loss = checked(torch.zeros(2), torch.tensor([1.0, 0.0]))
    # (1 - 1/2)^2 = 1/4; alpha is 1/4 for the positive, 3/4 for the negative
    assert_close(loss, torch.tensor([log(2) / 16, log(2) * 3 / 16]))


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.booleans())
def test_gamma_zero_is_cross_entropy(logits: list[float], present: bool) -> None:
    pred = torch.tensor(logits, dtype=torch.float64)
    target = torch.full_like(pred, float(present))
    entropy = F.binary_cross_entropy_with_logits(pred, target, reduction='none')
    assert_close(checked(pred, target, 0.0, 0.5), entropy / 2)


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.booleans(), st.floats(0, 5), st.floats(0, 1))
def test_equals_the_loop(
    logits: list[float], present: bool, gamma: float, alpha: float
) -> None:
    pred = torch.tensor(logits, dtype=torch.float64)
    loss = checked(pred, torch.full_like(pred, float(present)), gamma, alpha)
    expected = [reference.focal(logit, present, gamma, alpha) for logit in logits]
    assert_close(loss, torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.floats(0, 5))
def test_swapping_the_classes_changes_nothing(
    logits: list[float], gamma: float
) -> None:
    pred = torch.tensor(logits, dtype=torch.float64)
    there = checked(pred, torch.ones_like(pred), gamma, 0.5)
    gone = checked(-pred, torch.zeros_like(pred), gamma, 0.5)
    assert_close(there, gone)


@pytest.mark.parametrize('gamma', [0.0, 1.5, 2.0])
def test_gradient(gamma: float) -> None:
    pred = torch.linspace(-4, 4, 6, dtype=torch.float64).requires_grad_()
    target = torch.tensor([0, 1, 0, 1, 1, 0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: checked(p, target, gamma), pred)


def test_huge_logits_stay_finite() -> None:
    pred = torch.tensor([-1e4, 1e4, -1e4, 1e4]).requires_grad_()
    loss = checked(pred, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    loss.sum().backward()
    assert_close(loss.detach(), torch.tensor([0.0, 7500.0, 2500.0, 0.0]))
    assert_close(pred.grad, torch.tensor([0.0, 0.75, -0.25, 0.0]))


@pytest.mark.parametrize('weight_shape', [None, (6,), (6, 4)])
@pytest.mark.parametrize('one_hot', [False, True])
@pytest.mark.parametrize(
    ('reduction', 'avg_factor'),
    [
        ('mean', None),
        ('mean', 3.5),
        ('mean', 0.0),
        ('sum', None),
        ('none', None),
        ('none', 2.0),
    ],
)
@pytest.mark.parametrize('kind', ['loss', 'gradient'])
def test_interchangeable_with_mmdet(
    weight_shape: tuple[int, ...] | None,
    one_hot: bool,
    reduction: str,
    avg_factor: float | None,
    kind: str,
) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 4, 2, 3, 4, 1])  # 4 means none of the classes
    target = F.one_hot(labels, 5)[:, :4] if one_hot else labels
    weight = None if weight_shape is None else torch.rand(weight_shape)
    config = {'use_sigmoid': True, 'gamma': 1.7, 'alpha': 0.3, 'loss_weight': 2.5}
    start = torch.randn(6, 4)
    results = []
    for cls in (FocalLoss, MMDetFocalLoss):
        pred = start.clone().requires_grad_()
        loss = cls(**config)(pred, target, weight, avg_factor, reduction)
        loss.sum().backward()
        results.append(loss if kind == 'loss' else pred.grad)
    assert_close(results[0], results[1])


def test_an_average_over_a_sum_is_refused() -> None:
    with pytest.raises(UserError, match="reduction='mean'"):
        weighted_reduction(torch.ones(2), None, 'sum', 2.0)
    with pytest.raises(UserError, match="reduction='average'"):
        weighted_reduction(torch.ones(2), None, 'average')
    with pytest.raises(UserError, match='use_sigmoid=True'):
        FocalLoss(use_sigmoid=False)


def test_its_name_does_not_disturb_mmdet() -> None:
    assert MMDET_MODELS.get('paperzoo.FocalLoss') is FocalLoss
    assert MMDET_MODELS.get('FocalLoss') is MMDetFocalLoss


def test_common_needs_no_mmdet() -> None:
    program = (
        'import sys; sys.modules["mmdet"] = None; '
        'import paperzoo.common; print(paperzoo.common.FocalLoss.__name__)'
    )
    run = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ['FocalLoss']
