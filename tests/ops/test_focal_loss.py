from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops import focal_loss as focal_module
from paperzoo.ops.focal_loss import (
    sigmoid_focal_loss,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

NO_WEIGHT = torch.zeros(0, dtype=torch.double)
gammas = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5])
alphas = st.sampled_from([0.0, 0.25, 0.5, 0.9])


@st.composite
def cases(draw) -> tuple[Tensor, Tensor, Tensor | None]:
    rows, classes = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.double) * 4
    target = torch.randint(-1, classes + 2, (rows,), generator=generator)
    weight = torch.rand(classes, generator=generator, dtype=torch.double)
    return logits, target, draw(st.sampled_from([weight, None]))


@given(cases(), gammas, alphas)
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(case, gamma, alpha):
    logits, target, weight = case
    output = torch.full_like(logits, 7)
    given_weight = NO_WEIGHT if weight is None else weight
    sigmoid_focal_loss_forward(
        logits, target, given_weight, output, gamma=gamma, alpha=alpha
    )
    expected = reference.focal_loss(logits, target, weight, gamma, alpha)
    torch.testing.assert_close(output, expected)


@given(cases(), gammas, alphas)
@settings(max_examples=30, deadline=None)
def test_gradient(case, gamma, alpha):
    logits, target, weight = case

    def loss(x: Tensor) -> Tensor:
        return mmcv_ops.sigmoid_focal_loss(x, target, gamma, alpha, weight, 'none')

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


@given(cases())
@settings(max_examples=40, deadline=None)
def test_gamma_zero_alpha_half_is_half_the_cross_entropy(case):
    logits, target, _ = case
    onehot = (target[:, None] == torch.arange(logits.size(1))).double()
    expected = 0.5 * F.binary_cross_entropy_with_logits(
        logits, onehot, reduction='none'
    )
    actual = sigmoid_focal_loss(logits, target, gamma=0.0, alpha=0.5)
    torch.testing.assert_close(actual, expected)


def test_by_hand():
    # p = 1/2: 0.25 (1/2)^2 log 2 where true, 0.75 (1/2)^2 log 2 where not.
    loss = sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([1]), 2.0, 0.25)
    expected = torch.tensor([[0.75, 0.25]]) * 0.25 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, expected)


def test_background_is_no_class_and_has_no_class_weight():
    logits = torch.randn(3, 2)
    weight = torch.tensor([10.0, 20.0])
    for background in (2, 99, -1):
        target = torch.full((3,), background)
        loss = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight)
        p = logits.sigmoid()
        torch.testing.assert_close(loss, -0.75 * p**2 * (1 - p).log())


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_far_logits_give_the_exact_loss_and_slope(gamma):
    # Wrong by far: the loss is |x| and its slope 1, times the factor. Right by far: 0.
    logits = torch.tensor([[-200.0, -200.0], [200.0, 200.0]])
    target = torch.tensor([0, 1])
    loss, slope = torch.empty(2, 2), torch.empty(2, 2)
    sigmoid_focal_loss_forward(logits, target, torch.zeros(0), loss, gamma, 0.25)
    sigmoid_focal_loss_backward(logits, target, torch.zeros(0), slope, gamma, 0.25)
    torch.testing.assert_close(loss, torch.tensor([[50.0, 0], [150, 0]]))
    torch.testing.assert_close(slope, torch.tensor([[-0.25, 0], [0.75, 0]]))


@pytest.mark.parametrize('block', [1, 8, 2**20])
@pytest.mark.parametrize('strided', [False, True])
def test_block_by_block_and_strided(block, strided, monkeypatch):
    monkeypatch.setattr(focal_module, '_BLOCK', block)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, generator=generator, dtype=torch.double)
    target = torch.tensor([0, 3, 1, 2, 3, 3, 2])
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.double)
    expected = reference.focal_loss(logits, target, weight, 2.0, 0.25)
    if strided:
        logits = logits.T.contiguous().T
        target = torch.stack((target, target), dim=1)[:, 0]
    loss = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = (torch.randn(50, 4) * 6).to(dtype)
    target, none = torch.randint(5, (50,)), torch.zeros(0, dtype=dtype)
    loss = torch.empty_like(logits)
    sigmoid_focal_loss_forward(logits, target, none, loss, gamma=2.0, alpha=0.25)
    single = sigmoid_focal_loss(logits.float(), target, 2.0, 0.25)
    torch.testing.assert_close(loss, single.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_mmcv_module_against_mmdets_python_path(reduction):
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

    logits = torch.randn(6, 3, dtype=torch.double)
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = mmcv_ops.SigmoidFocalLoss(2.0, 0.25, reduction=reduction)(ours, target)
    onehot = F.one_hot(target, 4)[:, :3]
    expected = py_sigmoid_focal_loss(theirs, onehot, reduction='sum')
    expected = expected / 6 if reduction == 'mean' else expected
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    'dtype', [torch.half, torch.bfloat16, torch.float32, torch.double]
)
def test_the_derivative_kept_by_the_forward_is_that_of_the_backward(dtype):
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn(9, 4, generator=generator) * 5).to(dtype)
    target = torch.arange(9) % 5
    unused, kept = torch.zeros(0, dtype=dtype), torch.zeros(0, dtype=dtype)
    sigmoid_focal_loss_forward(
        logits, target, unused, torch.empty_like(logits), 2.0, 0.25
    )
    assert unused.shape == (0,)
    leaf = logits.clone().requires_grad_()
    with torch.no_grad():
        sigmoid_focal_loss_forward(
            leaf, target, kept, torch.empty_like(logits), 2.0, 0.25
        )
    slopes = [torch.empty_like(logits) for _ in range(2)]
    for weight, slope in zip((unused, kept), slopes, strict=True):
        sigmoid_focal_loss_backward(logits, target, weight, slope, 2.0, 0.25)
    assert slopes[0].any()
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=0)


@pytest.mark.parametrize('weighted', [False, True])
def test_a_training_step_computes_once_and_may_be_repeated(weighted, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return write(*arguments)

    write = focal_module._write
    monkeypatch.setattr(focal_module, '_write', counted)
    logits = torch.randn(6, 3, dtype=torch.double).requires_grad_()
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.double) if weighted else None
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    loss = mmcv_ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'mean')
    first, second = (
        torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2)
    )
    # With class weights, which are the caller's, each backward computes for itself.
    assert len(calls) == (3 if weighted else 1)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@given(cases(), gammas, alphas)
@settings(max_examples=20, deadline=None)
def test_the_function_is_mmcvs(case, gamma, alpha):
    logits, target, weight = case
    arguments = target, gamma, alpha, weight
    actual = sigmoid_focal_loss(logits.requires_grad_(), *arguments)
    expected = mmcv_ops.sigmoid_focal_loss(logits, *arguments, 'none')
    torch.testing.assert_close(actual, expected)
    gradients = (
        torch.autograd.grad(x.square().sum(), logits) for x in (actual, expected)
    )
    torch.testing.assert_close(*gradients)
