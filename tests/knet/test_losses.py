"""Losses of masks and of competing kernels; mmdet's can stand in their place."""

from typing import Any

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.losses import DiceLoss as MMDetDiceLoss
from mmdet.models.losses import FocalLoss as MMDetFocalLoss
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.common import DiceLoss, FocalLoss
from paperzoo.errors import UserError
from paperzoo.knet import MaskBCELoss, RankLoss
from paperzoo.knet.losses import kernel_losses
from paperzoo.knet.targets import KernelTargets, topmost


def test_a_pixel_by_hand() -> None:
    # -log sigmoid(0) = log 2; a target of 1/4 at logit 0 costs log 2 as well.
    found = MaskBCELoss(loss_weight=2.0)(torch.zeros(1, 2), torch.tensor([[1.0, 0.25]]))
    assert_close(found, 2 * torch.tensor(2.0).log())
    logits = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
    total = torch.tensor([2.0, 1.0, 0.0]).exp().sum().log()
    loss = RankLoss()(logits, torch.tensor([[[1]]]))
    assert_close(loss, total - 1)


def test_ignored_pixels_count_in_the_mean() -> None:
    logits = torch.randn(1, 3, 1, 4)
    target = torch.tensor([[[0, 255, 2, 255]]])
    kept = RankLoss()(logits[..., 0::2], target[..., 0::2])
    assert_close(RankLoss()(logits, target), kept / 2)
    other = torch.where(target == 255, -1, target)
    assert_close(RankLoss()(logits, other, ignore_index=-1), kept / 2)


def targets(positive: bool) -> KernelTargets:
    torch.manual_seed(0)
    labels = torch.tensor([[0, 4, 2], [4, 4, 1]]) if positive else torch.full((2, 3), 4)
    chosen = labels < 4
    masks = (torch.rand(2, 3, 6, 8) > 0.6).float() * chosen[..., None, None]
    winners = torch.stack([topmost(each) for each in masks])
    return KernelTargets(labels, torch.rand(2, 3, 4), masks, chosen, winners)


def ours() -> dict[str, Any]:
    return {
        'loss_mask': MaskBCELoss(loss_weight=1.5),
        'loss_dice': DiceLoss(loss_weight=4.0),
        'loss_rank': RankLoss(loss_weight=0.1),
    }


def mmdets() -> dict[str, Any]:
    return {
        'loss_mask': CrossEntropyLoss(use_sigmoid=True, loss_weight=1.5),
        'loss_dice': MMDetDiceLoss(loss_weight=4.0),
        'loss_rank': CrossEntropyLoss(loss_weight=0.1),
    }


@pytest.mark.parametrize('positive', [True, False])
def test_mmdets_losses_give_the_same(positive: bool) -> None:
    results = []
    for of_masks, focal in ((ours(), FocalLoss()), (mmdets(), MMDetFocalLoss())):
        torch.manual_seed(1)
        pred, scores = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 4)
        leaves = [pred.requires_grad_(), scores.requires_grad_()]
        losses = nn.ModuleDict({**of_masks, 'loss_cls': focal})
        found = kernel_losses(losses, pred, targets(positive), scores)
        total = sum(value for key, value in found.items() if 'loss' in key)
        found |= dict(enumerate(torch.autograd.grad(total, leaves)))
        results.append({key: value.detach() for key, value in found.items()})
    assert_close(results[0], results[1])


@pytest.mark.paper('knet "Training Instance Kernels"')
def test_means_are_over_the_positives() -> None:
    torch.manual_seed(1)
    pred, aim = torch.randn(2, 3, 6, 8), targets(True)
    found = kernel_losses(nn.ModuleDict(ours()), pred, aim)
    chosen, masks = pred[aim.positive], aim.masks[aim.positive]
    assert_close(found['loss_mask'], MaskBCELoss(loss_weight=1.5)(chosen, masks))
    assert_close(found['loss_dice'], DiceLoss(loss_weight=4.0)(chosen, masks))


def test_without_positives_all_is_zero() -> None:
    pred: Tensor = torch.randn(2, 3, 6, 8, requires_grad=True)
    zeros = kernel_losses(nn.ModuleDict(ours()), pred, targets(False))
    assert [loss.item() for loss in zeros.values()] == [0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(list(zeros.values()), pred)
    assert_close(gradient, torch.zeros_like(pred))
    losses = nn.ModuleDict({**ours(), 'loss_cls': FocalLoss()})
    found = kernel_losses(losses, pred, targets(False), torch.randn(2, 3, 4))
    assert found['pos_acc'] == 0


def test_rank_works_for_more_kernels_than_255() -> None:
    masks = torch.zeros(1, 300, 2, 2)
    masks[0, 255, 0, 0] = 1
    positive = torch.zeros(1, 300, dtype=torch.bool)
    positive[0, 255] = True
    winners = topmost(masks[0])[None]
    labels, weights = positive.long(), torch.ones(1, 300, 1)
    aim = KernelTargets(labels, weights, masks, positive, winners)
    losses = kernel_losses(nn.ModuleDict(ours()), torch.zeros(1, 300, 2, 2), aim)
    # One pixel of four has a winner, each of 300 kernels being as likely.
    assert_close(losses['loss_rank'], 0.1 * torch.tensor(300.0).log() / 4)


def test_large_masks_in_half_precision() -> None:
    pred = torch.randn(1, 2, 200, 400, generator=torch.manual_seed(0)).half()
    positive = torch.ones(1, 2, dtype=torch.bool)
    masks = (pred > 0.5).float()
    aim = KernelTargets(positive.long(), torch.ones(1, 2, 1), masks, positive)
    found = kernel_losses(nn.ModuleDict(ours()), pred, aim)
    assert_close(found, kernel_losses(nn.ModuleDict(ours()), pred.float(), aim))


def test_what_a_user_can_get_wrong() -> None:
    with pytest.raises(UserError, match='use_sigmoid=True'):
        MaskBCELoss(use_sigmoid=False)
    with pytest.raises(UserError, match='use_sigmoid=False'):
        RankLoss(use_sigmoid=True)
    with pytest.raises(UserError, match='pad_size_divisor'):
        kernel_losses(nn.ModuleDict(ours()), torch.zeros(2, 3, 5, 8), targets(True))
