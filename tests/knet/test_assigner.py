"""The matching: optimal, mmdet's, in one transfer, and clear about bad numbers."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmengine.structures import InstanceData
from references import knet as reference
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from paperzoo.errors import UserError
from paperzoo.knet import (
    DiceCost,
    FocalLossCost,
    KNet,
    KNetKernelIterHead,
    MaskCost,
    MaskHungarianAssigner,
)
from paperzoo.knet.assigner import Matching, build_assigner, match_all

COSTS: list[dict[str, Any]] = [
    {'type': FocalLossCost, 'weight': 2.0},
    {'type': MaskCost, 'weight': 1.0},
    {'type': DiceCost, 'weight': 4.0},
]


def case(preds: int, objects: int, seed: int = 0) -> tuple[InstanceData, InstanceData]:
    torch.manual_seed(seed)
    data = InstanceData(masks=torch.randn(preds, 9, 8), scores=torch.randn(preds, 4))
    masks = (torch.rand(objects, 9, 8) > 0.6).float()
    return data, InstanceData(masks=masks, labels=torch.randint(4, (objects,)))


@pytest.mark.paper('knet "Training Instance Kernels"')
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_no_other_matching_is_cheaper(preds: int, objects: int, seed: int) -> None:
    assigner, (data, gt) = MaskHungarianAssigner(), case(preds, objects, seed)
    found = assigner.assign(data, gt)
    cost = sum(assigner.terms(data, gt).values())
    matched = found.gt_inds.nonzero()[:, 0]
    total = cost[matched, found.gt_inds[matched] - 1].sum()
    assert_close(total.item(), reference.cheapest(cost.tolist()), rtol=1e-4, atol=1e-4)
    assert len(matched) == min(preds, objects)
    assert len(set(found.gt_inds[matched].tolist())) == len(matched)
    labels = torch.full((preds,), -1)
    labels[matched] = gt.labels[found.gt_inds[matched] - 1]
    assert_close(found.labels, labels)
    assert found.num_gts == objects


@pytest.mark.parametrize(('preds', 'objects'), [(20, 6), (6, 20), (1, 3), (7, 0)])
def test_equals_mmdets_assigner(preds: int, objects: int) -> None:
    data, gt = case(preds, objects)
    theirs = [
        {'type': 'mmdet.FocalLossCost', 'weight': 2.0},
        {'type': 'mmdet.DiceCost', 'weight': 4.0, 'pred_act': True},
    ]
    theirs[1]['naive_dice'] = False
    ours = MaskHungarianAssigner(mask_cost=None).assign(data, gt)
    peer = HungarianAssigner(theirs).assign(data, gt)
    assert_close(ours.gt_inds, peer.gt_inds)
    assert_close(ours.labels, peer.labels)
    # And our costs in mmdet's assigner.
    ours = MaskHungarianAssigner().assign(data, gt)
    peer = HungarianAssigner(COSTS).assign(data, gt)
    assert_close(ours.gt_inds, peer.gt_inds)
    # And mmdet's costs in ours.
    theirs = MaskHungarianAssigner(theirs[0], None, theirs[1]).assign(data, gt)
    peer = MaskHungarianAssigner(mask_cost=None).assign(data, gt)
    assert_close(theirs.gt_inds, peer.gt_inds)


def test_it_can_stand_in_mask2former() -> None:
    # Its classes pass a softmax, its masks come as points, its costs are mmdet's.
    torch.manual_seed(0)
    data = InstanceData(masks=torch.randn(10, 50), scores=torch.randn(10, 5))
    masks = (torch.rand(4, 50) > 0.5).float()
    gt = InstanceData(masks=masks, labels=torch.tensor([0, 3, 3, 1]))
    costs = [
        {'type': 'mmdet.ClassificationCost', 'weight': 2.0},
        {'type': 'mmdet.CrossEntropyLossCost', 'weight': 5.0, 'use_sigmoid': True},
        {'type': 'mmdet.DiceCost', 'weight': 5.0, 'pred_act': True, 'eps': 1.0},
    ]
    peer = HungarianAssigner(costs).assign(data, gt, img_meta={})
    ours = MaskHungarianAssigner(*costs).assign(data, gt, img_meta={})
    assert_close(ours.gt_inds, peer.gt_inds)
    assert_close(ours.labels, peer.labels)
    # Our dice cost, told to be naive, gives the same.
    naive = {'type': DiceCost, 'weight': 5.0, 'eps': 1.0, 'naive_dice': True}
    ours = MaskHungarianAssigner(*costs[:2], naive).assign(data, gt)
    assert_close(ours.gt_inds, peer.gt_inds)


def test_predictions_without_classes_are_matched_by_masks() -> None:
    data, gt = case(8, 3)
    bare = InstanceData(masks=data.masks)
    found = MaskHungarianAssigner().assign(bare, gt)
    expected = MaskHungarianAssigner(cls_cost=None).assign(data, gt)
    assert_close(found.gt_inds, expected.gt_inds)
    without = MaskHungarianAssigner({'type': FocalLossCost, 'weight': 0})
    assert list(without.costs) == ['mask_cost', 'dice_cost']


def test_a_further_cost_takes_part() -> None:
    data, gt = case(8, 3)
    further = {'type': MaskCost, 'weight': 5.0}
    terms = MaskHungarianAssigner(boundary_cost=further).terms(data, gt)
    assert_close(terms['boundary_cost'], 5 * terms['mask_cost'])


def test_topk_gives_each_object_more_kernels() -> None:
    data, gt = case(9, 3)
    once = MaskHungarianAssigner().assign(data, gt).gt_inds
    twice = MaskHungarianAssigner(topk=2).assign(data, gt).gt_inds
    assert torch.bincount(twice, minlength=4).tolist() == [3, 2, 2, 2]
    assert_close(twice[once > 0], once[once > 0])
    # Kernels run out: those of the first round keep their object.
    data, gt = case(4, 3)
    once = MaskHungarianAssigner().assign(data, gt).gt_inds
    twice = MaskHungarianAssigner(topk=3).assign(data, gt).gt_inds
    assert_close(twice[once > 0], once[once > 0])
    assert (twice > 0).all()


def test_all_costs_cross_in_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    assigner, to_host = MaskHungarianAssigner(), Tensor.cpu
    transfers: list[torch.Size] = []

    def cpu(tensor: Tensor) -> Tensor:
        transfers.append(tensor.shape)
        return to_host(tensor)

    monkeypatch.setattr(Tensor, 'cpu', cpu)
    cases = [case(6, 2), case(6, 0), case(5, 7)]
    found = match_all([Matching(assigner, *data) for data in cases])
    assert transfers == [(6 * 2 + 0 + 5 * 7,)]
    for (data, gt), made in zip(cases, found, strict=True):
        assert_close(made.gt_inds, assigner.assign(data, gt).gt_inds)
        terms = assigner.terms(data, gt).values() if len(gt) else [torch.zeros(6, 0)]
        assert_close(made.cost, sum(terms))
        assert made.matching.gt_instances is gt
    assert match_all([]) == []


def test_one_matrix_product_serves_all_mask_costs() -> None:
    class Products(TorchDispatchMode):
        names: list[str] = []

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func.overloadpacket.__name__
            if name in ('mm', 'addmm', 'addmm_', 'bmm', 'baddbmm', 'matmul', 'einsum'):
                self.names.append(name)
            return func(*args, **(kwargs or {}))

    further = {'type': MaskCost, 'weight': 5.0}
    assigner = MaskHungarianAssigner(boundary_cost=further)
    with Products() as products:
        match_all([Matching(assigner, *case(6, 2)), Matching(assigner, *case(5, 7))])
    assert products.names == ['addmm_', 'addmm_']


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('costs', ['ours', 'mmdets'])
def test_autocast_changes_nothing(costs: str, dtype: torch.dtype) -> None:
    data, gt = case(20, 8)
    half = InstanceData(masks=data.masks.to(dtype), scores=data.scores.to(dtype))
    wide = InstanceData(masks=half.masks.float(), scores=half.scores.float())
    theirs = (
        {'type': 'mmdet.FocalLossCost', 'weight': 2.0},
        {'type': 'mmdet.CrossEntropyLossCost', 'weight': 5.0, 'use_sigmoid': True},
        {'type': 'mmdet.DiceCost', 'weight': 4.0, 'pred_act': True},
    )
    assigner = MaskHungarianAssigner(*(theirs if costs == 'mmdets' else ()))
    plain = assigner.terms(wide, gt)
    with torch.autocast('cpu', dtype=dtype):
        # Even in inputs of half precision there is no more loss than theirs.
        assert_close(assigner.terms(half, gt), plain)
        assert_close(assigner.terms(wide, gt), plain)


def test_points_tell_masks_apart_as_pixels_do() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(4, 32, 32)
    for number in range(4):
        masks[number, 8 * number : 8 * number + 8] = 1
    order = torch.tensor([2, 0, 3, 1])
    data = InstanceData(masks=10 * masks[order] - 5)
    gt = InstanceData(masks=masks, labels=torch.zeros(4, dtype=torch.long))
    assigner = MaskHungarianAssigner(num_points=200)
    assert_close(assigner.assign(data, gt).gt_inds, order + 1)
    # Costs at points estimate those of all pixels: here to within 0.15 of a range of 1.
    estimate = assigner.terms(data, gt)['mask_cost']
    exact = MaskHungarianAssigner().terms(data, gt)['mask_cost']
    assert_close(estimate, exact, rtol=0, atol=0.15)


def test_points_that_found_a_broken_mask_say_so() -> None:
    # Other points would miss the one broken pixel of 10000, and blame no cost.
    masks = torch.zeros(1, 100, 100)
    masks[0, 40, 40] = float('nan')
    data = InstanceData(masks=masks)
    gt = InstanceData(masks=torch.ones(1, 100, 100), labels=torch.zeros(1).long())
    assigner = MaskHungarianAssigner(num_points=50)
    torch.manual_seed(0)

    def until_a_point_falls_beside_it() -> None:
        for _ in range(200):
            assigner.assign(data, gt)

    with pytest.raises(UserError, match=r'nan \(mask_cost, dice_cost'):
        until_a_point_falls_beside_it()


def test_points_of_points_are_refused() -> None:
    torch.manual_seed(0)
    data = InstanceData(masks=torch.randn(10, 50))
    gt = InstanceData(masks=torch.ones(2, 50), labels=torch.zeros(2).long())
    with pytest.raises(UserError, match=r'num_points=9.*Mask2Former'):
        MaskHungarianAssigner(num_points=9).assign(data, gt)
    assert MaskHungarianAssigner().assign(data, gt).gt_inds.gt(0).sum() == 2


def test_numbers_that_are_none_are_named() -> None:
    nan, place = float('nan'), {'img_path': 'shapes/7.png'}
    data, gt = case(6, 2)
    data.scores[3] = nan
    with pytest.raises(UserError, match=r'kernel 3 .*cls_cost; shapes/7.png.*lower lr'):
        MaskHungarianAssigner().assign(data, gt, place)
    data, gt = case(6, 2)
    data.masks[4, 0, 0] = nan
    with pytest.raises(UserError, match=r'kernel 4 .*mask_cost, dice_cost'):
        MaskHungarianAssigner().assign(data, gt)
    data, gt = case(6, 2)
    assigner = MaskHungarianAssigner()
    assigner.costs['boundary_cost'] = lambda *_: torch.full((6, 2), float('inf'))
    with pytest.raises(UserError, match=r'object 0 is inf \(boundary_cost'):
        assigner.assign(data, gt)


class OwnTerms(MaskHungarianAssigner):
    def terms(self, *given: Any) -> dict[str, Tensor]:
        return super().terms(*given)


class OwnAssign(MaskHungarianAssigner):
    def assign(self, *given: Any, **_: Any) -> Any:
        return super().assign(*given)


def test_knet_refuses_an_assigner_of_which_it_would_leave_out_a_part() -> None:
    assert isinstance(build_assigner({'type': OwnTerms, 'topk': 2}), OwnTerms)
    assert type(build_assigner(None)) is MaskHungarianAssigner
    theirs = {'type': HungarianAssigner, 'match_costs': COSTS}
    small = {'in_channels': 16, 'out_channels': 16, 'feedforward_channels': 32}
    for config in (theirs, {'type': OwnAssign}):
        with pytest.raises(UserError, match=r'has an `assign` of its own'):
            KNetKernelIterHead(
                1,
                num_thing_classes=3,
                mask_head={'num_classes': 3, **small},
                train_cfg={'assigner': config},
            )
        with pytest.raises(UserError, match=r'has an `assign` of its own'):
            KNet(
                {'type': 'mmdet.ResNet', 'depth': 18},
                rpn_head={'num_proposals': 10},
                roi_head={'num_proposals': 10},
                train_cfg={'rpn': {'assigner': config}},
            )


def test_what_a_user_can_get_wrong() -> None:
    with pytest.raises(UserError, match='topk=0'):
        MaskHungarianAssigner(topk=0)
    with pytest.raises(UserError, match='num_points=-1'):
        MaskHungarianAssigner(num_points=-1)
