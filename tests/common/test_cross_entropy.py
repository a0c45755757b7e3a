"""The cross entropy on logits: a number, mmdet's values, soft targets."""

import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss
from torch.testing import assert_close

from paperzoo.common import SigmoidCrossEntropyLoss
from paperzoo.errors import UserError


def test_a_number_to_check() -> None:
    """A logit of 0 is a coin: log 2 whatever the target; log 3 says 3/4."""
    loss = SigmoidCrossEntropyLoss(reduction='none', loss_weight=2.0)
    logits = torch.tensor([0.0, 0.0, math.log(3)], dtype=torch.float64)
    target = torch.tensor([1.0, 0.3, 1.0], dtype=torch.float64)
    expected = [2 * math.log(2), 2 * math.log(2), 2 * math.log(4 / 3)]
    assert_close(loss(logits, target), torch.tensor(expected, dtype=torch.float64))


def test_equals_mmdet_with_its_arguments() -> None:
    torch.manual_seed(0)
    pred = torch.randn(5, 7, requires_grad=True)
    target, weight = torch.rand(5, 7), torch.rand(5, 7)
    config = {'use_sigmoid': True, 'loss_weight': 0.7}
    theirs = CrossEntropyLoss(**config)(pred, target, weight, avg_factor=3.0)
    ours = SigmoidCrossEntropyLoss(**config)(pred, target, weight, avg_factor=3.0)
    assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(theirs, pred)
    assert_close(torch.autograd.grad(ours, pred)[0], gradient)


def test_refuses_a_softmax() -> None:
    with pytest.raises(UserError, match=r'SigmoidCrossEntropyLoss\(use_sigmoid=False'):
        SigmoidCrossEntropyLoss(use_sigmoid=False)
