"""The losses for boxes and centre-ness."""

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models import losses as mmdet_losses
from mmdet.registry import MODELS as MMDET_MODELS
from references import fcos as reference
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.fcos import (
    CenternessLoss,
    GIoULoss,
    IoULoss,
    aligned_giou,
    aligned_iou_union,
    decode_ltrb,
)

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
IOU_FILES = sorted(path.stem for path in GOLDEN.glob('fcos_iou_loss*.npz'))
EDGE, SIDE = st.floats(-50, 50), st.floats(0.5, 60)
BOX = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), EDGE, EDGE, SIDE, SIDE)
BOX_LOSSES: dict[str, tuple[type, type, dict[str, Any]]] = {
    'iou': (IoULoss, mmdet_losses.IoULoss, {}),
    'linear_iou': (IoULoss, mmdet_losses.IoULoss, {'mode': 'linear'}),
    'square_iou': (IoULoss, mmdet_losses.IoULoss, {'mode': 'square'}),
    'giou': (GIoULoss, mmdet_losses.GIoULoss, {}),
}
SMOOTH = {
    f'smooth_{name}': (ours, config | {'smooth_iou': True})
    for name, (ours, _, config) in BOX_LOSSES.items()
}


def double(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_boxes(count: int) -> Tensor:
    start = torch.rand(count, 2, dtype=torch.float64) * 10
    return torch.cat((start, start + 2 + torch.rand_like(start) * 10), dim=1)


@pytest.mark.paper('fcos Eq. 2')
def test_by_hand() -> None:
    # overlap 1, union 4 + 4 - 1 = 7, enclosing box 9
    pred, target = double((0, 0, 2, 2)), double((1, 1, 3, 3))
    assert_close(IoULoss()(pred, target).item(), log(7))
    assert_close(IoULoss(mode='linear')(pred, target).item(), 6 / 7)
    assert_close(IoULoss(mode='square')(pred, target).item(), 48 / 49)
    assert_close(GIoULoss()(pred, target).item(), 1 - 1 / 7 + 2 / 9)
    smooth = {'smooth_iou': True}  # (1 + 1) / (7 + 1)
    assert_close(IoULoss(**smooth)(pred, target).item(), log(4))
    assert_close(IoULoss(mode='linear', **smooth)(pred, target).item(), 3 / 4)
    assert_close(
        GIoULoss(**smooth)(pred, target).item(), 3 / 4 + 2 / 9, rtol=0, atol=1e-7
    )


@settings(max_examples=60, deadline=None)
@given(BOX, BOX, st.floats(0.1, 10))
def test_iou_laws(one: tuple, other: tuple, factor: float) -> None:
    a, b = double(one), double(other)
    iou, giou = aligned_iou_union(a, b)[0], aligned_giou(a, b)
    expected = reference.iou_and_giou(one, other)
    assert_close((iou.item(), giou.item()), expected, rtol=1e-6, atol=1e-6)
    assert_close(aligned_iou_union(b, a)[0], iou)
    assert_close(aligned_giou(b, a), giou)
    assert_close(aligned_iou_union(a * factor, b * factor)[0], iou)
    assert -1 < giou <= iou + 1e-9
    assert_close(aligned_giou(a, a), torch.ones_like(giou))


@settings(max_examples=60, deadline=None)
@given(BOX, BOX)
def test_smooth_iou_laws(one: tuple, other: tuple) -> None:
    a, b = double(one), double(other)
    iou, union = aligned_iou_union(a, b, smooth=True)
    giou = aligned_giou(a, b, smooth=True)
    expected = reference.smooth_iou_and_giou(one, other)
    assert_close((iou.item(), giou.item()), expected, rtol=1e-9, atol=1e-9)
    plain, same_union = aligned_iou_union(a, b)
    assert_close(union, same_union)
    # (I + 1) / (U + 1) lies between I / U and 1, up to rounding.
    assert plain - 1e-12 <= iou <= 1 + 1e-12


def test_smooth_iou_pulls_boxes_that_do_not_overlap() -> None:
    pred = double((0, 0, 1, 1)).requires_grad_()
    IoULoss(smooth_iou=True)(pred, double((5, 5, 6, 6))).backward()
    # The union shrinks with the box, by 1 per side, and log's slope is 1 / (2 + 1).
    assert_close(pred.grad, double((-1 / 3, -1 / 3, 1 / 3, 1 / 3)))


def test_only_giou_pulls_boxes_that_do_not_overlap() -> None:
    for loss, pulls in ((IoULoss(), False), (GIoULoss(), True)):
        pred = double((0, 0, 1, 1)).requires_grad_()
        loss(pred, double((5, 5, 6, 6))).backward()
        assert bool((pred.grad != 0).any()) is pulls
        assert pred.grad.isfinite().all()


@pytest.mark.parametrize('name', [*BOX_LOSSES, *SMOOTH])
def test_box_gradient(name: str) -> None:
    torch.manual_seed(1)
    ours, *_, config = (BOX_LOSSES | SMOOTH)[name]
    pred, target = random_boxes(6).requires_grad_(), random_boxes(6)
    weight = torch.rand(6, dtype=torch.float64)
    assert gradcheck(lambda p: ours(**config)(p, target, weight, 2.0), pred)


@pytest.mark.parametrize('name', BOX_LOSSES)
@pytest.mark.parametrize('weight_shape', [None, (7,), (7, 4)])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_box_losses_are_interchangeable_with_mmdet(
    name: str, weight_shape: tuple[int, ...] | None, reduction: str
) -> None:
    torch.manual_seed(2)
    *classes, config = BOX_LOSSES[name]
    weight = None if weight_shape is None else torch.rand(weight_shape)
    avg_factor = None if reduction == 'sum' else 3.0
    start, target = random_boxes(7).float(), random_boxes(7).float()
    losses, gradients = [], []
    for cls in classes:
        pred = start.clone().requires_grad_()
        loss = cls(**config, loss_weight=1.5, reduction=reduction)(
            pred, target, weight, avg_factor
        )
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss.sum(), pred)[0])
    assert_close(losses[0], losses[1])
    assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize('file', IOU_FILES)
@pytest.mark.parametrize('name', ['iou', 'linear_iou', 'giou'])
@pytest.mark.parametrize('whose', ['mmdet', 'official', 'adet'])
def test_golden(file: str, name: str, whose: str) -> None:
    golden = np.load(GOLDEN / f'{file}.npz')
    load = lambda key: torch.from_numpy(golden[key]).double()
    ours, _, config = BOX_LOSSES[name]
    # AdelaiDet's GIoU lacks the 1e-7 of the official code, which is beyond the digits.
    config = config | {'smooth_iou': whose != 'mmdet'}
    pred = load('in:pred').requires_grad_()
    boxes = decode_ltrb(load('in:points'), pred)
    target = decode_ltrb(load('in:points'), load('in:target'))
    per_box = ours(**config, reduction='none')(boxes, target)
    total = ours(**config, reduction='sum')(boxes, target, load('in:weight'))
    total.backward()
    for value, key in (
        (per_box, f'out:{whose}.{name}.per_box'),
        (total, f'loss:{whose}.{name}.weighted_sum'),
        (pred.grad, f'grad:{whose}.{name}.pred'),
    ):
        expected = load(key)
        atol = 2e-7 * expected.abs().max().item() + 1e-7
        assert_close(value.detach(), expected, rtol=0, atol=atol)


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 20), st.floats(0, 1))
def test_centerness_loss_equals_the_loop(logit: float, target: float) -> None:
    loss = CenternessLoss()(double((logit,)), double((target,)))
    assert_close(loss.item(), reference.cross_entropy(logit, target), atol=1e-6, rtol=0)


def test_centerness_loss_is_least_at_the_target() -> None:
    target = double((0.1, 0.5, 0.8))
    pred = target.logit().requires_grad_()
    CenternessLoss(reduction='sum')(pred, target).backward()
    assert_close(pred.grad, torch.zeros_like(pred))


def test_centerness_loss_is_interchangeable_with_mmdet() -> None:
    torch.manual_seed(3)
    pred, (target, weight) = torch.randn(9), torch.rand(2, 9)
    config = {'use_sigmoid': True, 'loss_weight': 0.5}
    theirs = mmdet_losses.CrossEntropyLoss(**config)(pred, target, weight, 4.0)
    assert_close(CenternessLoss(**config)(pred, target, weight, 4.0), theirs)


def test_centerness_gradient() -> None:
    torch.manual_seed(4)
    pred = torch.randn(9, dtype=torch.float64).requires_grad_()
    target, weight = torch.rand(2, 9, dtype=torch.float64)
    assert gradcheck(lambda p: CenternessLoss()(p, target, weight, 4.0), pred)


@pytest.mark.parametrize('loss', [IoULoss(), GIoULoss()])
def test_half_precision_does_not_overflow(loss: nn.Module) -> None:
    pred = torch.tensor([[0.0, 0, 600, 600]]).half()
    target = torch.tensor([[0.0, 0, 600, 300]]).half()
    full = loss(pred.float(), target.float())
    assert_close(loss(pred, target), full)


def test_wrong_arguments_say_what_to_write() -> None:
    with pytest.raises(UserError, match="'log', 'linear' or 'square'"):
        IoULoss(mode='ln')
    with pytest.raises(UserError, match='use_sigmoid=True'):
        CenternessLoss(use_sigmoid=False)


def test_their_names_do_not_disturb_mmdet() -> None:
    for name in ('IoULoss', 'GIoULoss'):
        assert MMDET_MODELS.get(name) is getattr(mmdet_losses, name)
    assert MMDET_MODELS.get('paperzoo.GIoULoss') is GIoULoss


@pytest.mark.parametrize('kind', [IoULoss, GIoULoss])
def test_no_boxes_at_all(kind: type) -> None:
    """As mmdet's heads call it for an image without objects: zero, with a slope."""
    boxes = torch.zeros(0, 4, requires_grad=True)
    loss = kind()(boxes, torch.zeros(0, 4), torch.zeros(0))
    loss.backward()
    assert loss == 0
    assert boxes.grad is not None
