from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_box_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops.softmax_focal_loss import (
    softmax_focal_loss,
    softmax_focal_loss_backward,
)

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')
NO_WEIGHT = torch.zeros(0)


@st.composite
def cases(draw) -> tuple[Tensor, Tensor, Tensor | None]:
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.double) * 3
    labels = st.integers(-1, classes - 1)
    target = draw(st.lists(labels, min_size=rows, max_size=rows))
    weight = torch.rand(classes, generator=generator, dtype=torch.double)
    return logits, torch.tensor(target), draw(st.sampled_from([None, weight]))


gammas = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5])


@given(cases(), gammas, st.sampled_from([0.25, 1.0]))
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(case, gamma, alpha):
    logits, target, weight = case
    actual = mmcv_ops.softmax_focal_loss(logits, target, gamma, alpha, weight, 'none')
    expected = reference.softmax_focal_loss(logits, target, weight, gamma, alpha)
    torch.testing.assert_close(actual, expected)


@given(cases(), gammas)
@settings(max_examples=20, deadline=None)
def test_gradient(case, gamma):
    logits, target, weight = case

    def loss(x: Tensor) -> Tensor:
        return mmcv_ops.softmax_focal_loss(x, target, gamma, 0.25, weight, 'sum')

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


@given(cases())
@settings(max_examples=40, deadline=None)
def test_gamma_zero_is_the_cross_entropy(case):
    logits, target, _ = case
    actual = mmcv_ops.softmax_focal_loss(logits, target, 0.0, 1.0, None, 'none')
    expected = F.cross_entropy(logits, target, reduction='none', ignore_index=-1)
    torch.testing.assert_close(actual, expected)


def test_by_hand():
    # p = 1/2: 0.25 (1/2)^2 log 2, times the class weight.
    loss = softmax_focal_loss(
        torch.zeros(2, 2), torch.tensor([0, 1]), 2.0, 0.25, torch.tensor([1.0, 4])
    )
    expected = torch.tensor([1.0, 4]) * 0.25 * 0.25 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize('weight', [None, torch.tensor([3.0, 4.0])])
def test_a_row_without_class_has_neither_loss_nor_gradient(weight):
    softmax = torch.tensor([[0.2, 0.8]] * 3)
    target = torch.tensor([-1, 2, 99])
    loss = softmax_focal_loss(softmax.log(), target, 2.0, 0.25, weight)
    torch.testing.assert_close(loss, torch.zeros(3))
    slope, gradient = torch.ones(3), torch.ones(3, 2)
    weight = NO_WEIGHT if weight is None else weight
    softmax_focal_loss_backward(softmax, target, weight, slope, gradient, 2.0, 0.25)
    torch.testing.assert_close(slope, torch.zeros(3))
    torch.testing.assert_close(gradient, torch.zeros(3, 2))


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
def test_certain_rows(gamma):
    # Right for certain: no loss, no gradient. Wrong by far: mmcv's floor, slope -alpha.
    logits = torch.tensor([[300.0, 0], [0, 300]], requires_grad=True)
    target = torch.tensor([0, 0])
    loss = mmcv_ops.softmax_focal_loss(logits, target, gamma, 0.25, None, 'none')
    floor = -torch.tensor(torch.finfo(torch.float32).tiny).log()
    torch.testing.assert_close(loss, torch.stack((floor * 0, 0.25 * floor)))
    slope, gradient = torch.empty(2), torch.empty(2, 2)
    softmax = logits.detach().softmax(1)
    softmax_focal_loss_backward(
        softmax, target, NO_WEIGHT, slope, gradient, gamma, 0.25
    )
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0], [-0.25, 0.25]]))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    softmax = torch.randn(50, 4).mul(3).softmax(1).to(dtype)
    target = torch.randint(-1, 4, (50,))
    loss = torch.empty(50, dtype=dtype)
    mmcv_ext_op('forward')(softmax, target, NO_WEIGHT.to(dtype), loss, 2.0, 0.25)
    single = torch.empty(50)
    mmcv_ext_op('forward')(softmax.float(), target, NO_WEIGHT, single, 2.0, 0.25)
    torch.testing.assert_close(loss, single.to(dtype), rtol=0, atol=0)


def mmcv_ext_op(direction: str):
    return getattr(import_module('mmcv._ext'), f'softmax_focal_loss_{direction}')


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_module_with_class_weights_and_reduction(reduction):
    logits = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    target = torch.tensor([0, 1, 2, -1, 1, 0])
    weight = torch.tensor([1.0, 2.0, 0.5]).double()
    loss = mmcv_ops.SoftmaxFocalLoss(2.0, 0.25, weight, reduction)(logits, target)
    log_p = logits.log_softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    rows = -0.25 * weight[target] * (1 - log_p.exp()) ** 2 * log_p
    expected = (rows * (target >= 0)).sum() / (6 if reduction == 'mean' else 1)
    torch.testing.assert_close(loss, expected)
    (actual,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(actual, torch.autograd.grad(expected, logits)[0])


def test_no_row():
    logits = torch.zeros(0, 3, requires_grad=True)
    target = torch.zeros(0, dtype=torch.long)
    loss = mmcv_ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, 'sum')
    torch.testing.assert_close(loss, torch.tensor(0.0))
    loss.backward()
    assert logits.grad.shape == (0, 3)


@given(cases(), gammas)
@settings(max_examples=20, deadline=None)
def test_the_function_is_mmcvs(case, gamma):
    logits, target, weight = case
    actual = softmax_focal_loss(logits.requires_grad_(), target, gamma, 0.25, weight)
    actual.backward(torch.arange(len(actual)).double())
    expected = mmcv_ops.softmax_focal_loss(logits, target, gamma, 0.25, weight, 'none')
    torch.testing.assert_close(actual, expected)
    total = mmcv_ops.softmax_focal_loss(logits, target, gamma, 0.25, weight, 'sum')
    (by_row,) = torch.autograd.grad(total, logits)
    wanted = by_row * torch.arange(len(actual)).double()[:, None]
    torch.testing.assert_close(logits.grad, wanted)
