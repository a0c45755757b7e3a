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
from paperzoo.common.focal import _CHUNK, sigmoid_focal_sum
from paperzoo.errors import UserError

# A whole number may stand where a float is asked for, as everywhere in Python.
typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
checked = jaxtyped(typechecker=typecheck)(sigmoid_focal_loss)
checked_sum = jaxtyped(typechecker=typecheck)(sigmoid_focal_sum)
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


def in_float64(
    logits: torch.Tensor, labels: torch.Tensor, gamma: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the equation over all logits, and its gradient."""
    pred = logits.detach().double().requires_grad_()
    present = labels[:, None] == torch.arange(logits.size(1))
    loss = sigmoid_focal_loss(pred, present.double(), gamma).sum()
    return loss.detach(), torch.autograd.grad(loss, pred)[0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), max_size=5),
    st.integers(-1, 4),
    st.floats(0, 5),
)
def test_the_sum_in_one_pass_equals_the_equation(
    rows: list[list[float]], first: int, gamma: float
) -> None:
    logits = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3).requires_grad_()
    labels = (torch.arange(len(rows)) + first) % 6 - 1  # -1 and 3, 4: none of them
    loss = checked_sum(logits, labels, None, gamma)
    found = loss.detach(), torch.autograd.grad(loss, logits)[0]
    assert_close(found, in_float64(logits, labels, gamma), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('gamma', [0.0, 1.5, 2.0])
@pytest.mark.parametrize('classes', [1, 3])
def test_gradient_of_the_sum(gamma: float, classes: int) -> None:
    torch.manual_seed(0)
    pred = torch.randn(4, 3, dtype=torch.float64).requires_grad_()
    weight = torch.rand(4, classes, dtype=torch.float64)
    labels = torch.tensor([0, 3, 2, 1])
    total = lambda p: checked_sum(p, labels, weight, gamma, 0.3)
    assert torch.autograd.gradcheck(total, pred)
    assert torch.autograd.gradgradcheck(total, pred)


def test_many_rows_are_as_exact_as_float32_allows() -> None:
    torch.manual_seed(0)
    count = 2 * _CHUNK + 7  # a last part that is not full
    logits = (torch.randn(count, 5) * 3 - 2).requires_grad_()
    labels = torch.randint(0, 6, (count,))
    loss, slope = in_float64(logits, labels)
    found = FocalLoss(reduction='sum')(logits, labels)
    found.backward()
    assert_close(found.detach().double(), loss, rtol=1e-6, atol=0)
    assert (logits.grad - slope).norm() <= 2e-7 * slope.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(40, 5) * 3).to(dtype).requires_grad_()
    labels = torch.randint(0, 6, (40,))
    loss, slope = in_float64(logits, labels)
    found = FocalLoss(loss_weight=1e3)(logits, labels, avg_factor=1e3)
    found.backward()
    assert found.dtype == torch.float32
    assert_close(found.detach().double(), loss, rtol=1e-5, atol=0)
    assert_close(logits.grad, slope.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)


def test_gamma_zero_is_the_cross_entropy_of_the_labels() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(0, 5, (9,))
    present = F.one_hot(labels, 5)[:, :4].double()
    expected = F.binary_cross_entropy_with_logits(logits, present)
    assert_close(FocalLoss(gamma=0.0, alpha=0.5)(logits, labels), expected / 2)


def test_it_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (6,))
    pred = torch.randn(6, 4).requires_grad_()
    loss = FocalLoss()
    eager = torch.autograd.grad(loss(pred, labels, avg_factor=2.0), pred)
    whole = torch.compile(loss, fullgraph=True, backend='aot_eager')
    compiled = torch.autograd.grad(whole(pred, labels, avg_factor=2.0), pred)
    assert_close(compiled, eager)


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


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_weights_of_logits_may_be_flat(reduction: str) -> None:
    """As mmdet's FSAF gives them."""
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, weight = torch.tensor([0, 1, 2, 3]), torch.arange(12.0)
    ours, theirs = FocalLoss(reduction=reduction), MMDetFocalLoss(reduction=reduction)
    expected = theirs(logits, labels, weight)
    torch.testing.assert_close(ours(logits, labels, weight), expected)
    torch.testing.assert_close(ours(logits, labels, weight.view(4, 3)), expected)


def test_no_logits_at_all() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = FocalLoss()(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0
