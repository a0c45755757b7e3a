"""The match costs, against loops, the losses, and mmdet's."""

from collections.abc import Callable

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from mmdet.models.task_modules.assigners import match_cost as mmdet_costs
from mmengine.structures import InstanceData
from references import knet as reference
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.common import dice_loss, sigmoid_focal_loss
from paperzoo.errors import UserError
from paperzoo.knet import DiceCost, FocalLossCost, MaskCost, match_costs

agreement_cost = jaxtyped(typechecker=beartype)(match_costs.agreement_cost)
dice_cost = jaxtyped(typechecker=beartype)(match_costs.dice_cost)
focal_cost = jaxtyped(typechecker=beartype)(match_costs.focal_cost)


def case(seed: int = 0) -> tuple[InstanceData, InstanceData]:
    torch.manual_seed(seed)
    preds = InstanceData(masks=torch.randn(5, 6, 7), scores=torch.randn(5, 4))
    masks = (torch.rand(3, 6, 7) > 0.6).float()
    return preds, InstanceData(masks=masks, labels=torch.tensor([1, 3, 1]))


def pairwise(preds: Tensor, masks: Tensor, function: Callable) -> Tensor:
    rows = preds.flatten(1).tolist(), masks.flatten(1).tolist()
    return torch.tensor([[function(p, t) for t in rows[1]] for p in rows[0]])


@pytest.mark.paper('knet "Training Instance Kernels"')
def test_costs_equal_the_loops() -> None:
    preds, gt = case()
    prob = preds.masks.sigmoid()
    overlap = match_costs.mask_overlap(preds.masks, gt.masks)
    expected = -pairwise(prob, gt.masks, reference.agreement)
    assert_close(agreement_cost(overlap), expected)
    for naive in (False, True):
        expected = pairwise(
            prob, gt.masks, lambda p, t, n=naive: reference.dice(p, t, 1e-3, n) - 1
        )
        assert_close(dice_cost(overlap, naive=naive), expected)


def test_dice_cost_is_the_dice_loss_less_one() -> None:
    preds, gt = case()
    prob = preds.masks.sigmoid()
    expected = torch.stack(
        [dice_loss(prob, mask.expand(5, 6, 7)) - 1 for mask in gt.masks], dim=1
    )
    assert_close(DiceCost(4.0)(preds, gt), 4 * expected)


def test_focal_cost_is_what_the_class_changes_in_the_loss() -> None:
    preds, gt = case()
    without = sigmoid_focal_loss(preds.scores, torch.zeros(5, 4)).sum(dim=1)
    columns = [
        sigmoid_focal_loss(preds.scores, F.one_hot(label, 4).float().expand(5, 4)).sum(
            dim=1
        )
        - without
        for label in gt.labels
    ]
    assert_close(focal_cost(preds.scores, gt.labels), torch.stack(columns, dim=1))


@pytest.mark.parametrize('naive', [False, True])
def test_costs_are_mmdets(naive: bool) -> None:
    preds, gt = case()
    peer = mmdet_costs.DiceCost(pred_act=True, naive_dice=naive, weight=3.0)
    # mmdet's squared form has one eps in numerator and denominator, and a constant 1.
    ours = DiceCost(3.0, naive_dice=naive)(preds, gt)
    tolerance = {'rtol': 0, 'atol': 1e-5 if naive else 1e-3}
    assert_close(ours + 3, peer(preds, gt), **tolerance)
    peer = mmdet_costs.FocalLossCost(weight=2.0, alpha=0.3, gamma=1.5)
    ours = FocalLossCost(2.0, alpha=0.3, gamma=1.5)(preds, gt)
    assert_close(ours, peer(preds, gt))


def test_the_chunk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    preds, gt = case()
    for mode in ('sigmoid', 'softmax', None):
        whole = match_costs.mask_overlap(preds.masks, gt.masks, mode)
        for chunk in (1, 5, 41):
            monkeypatch.setattr(match_costs, 'CPU_CHUNK', chunk)
            found = match_costs.mask_overlap(preds.masks, gt.masks, mode)
            assert_close(tuple(found), tuple(whole))
        monkeypatch.undo()


def test_softmax_is_over_the_predictions() -> None:
    preds, gt = case()
    shared = InstanceData(masks=preds.masks.softmax(dim=0))
    for cost in (DiceCost, MaskCost):
        found = cost(act_mode='softmax')(preds, gt)
        assert_close(found, cost(pred_act=False)(shared, gt))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    preds, gt = case()
    half = InstanceData(masks=preds.masks.to(dtype), scores=preds.scores.to(dtype))
    wide = InstanceData(masks=half.masks.float(), scores=half.scores.float())
    for cost in (DiceCost(), MaskCost(), FocalLossCost()):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found = cost(half, gt)
        assert found.dtype == torch.float32
        assert_close(found, cost(wide, gt))


def test_other_numbers_of_pixels_are_named() -> None:
    # A multiple of the chunk would otherwise pass unseen.
    preds = torch.randn(2, match_costs.CPU_CHUNK)
    with pytest.raises(UserError, match=r'2048.*4096'):
        match_costs.mask_overlap(preds, torch.ones(1, 2 * match_costs.CPU_CHUNK))


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(UserError, match="act_mode='tanh'"):
        MaskCost(act_mode='tanh')
