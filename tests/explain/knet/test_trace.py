"""What is explained is what the model does: its masks, costs, matching, gates."""

import copy
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from small_models import images, samples, small_model
from torch.testing import assert_close

from paperzoo.explain.knet.trace import (
    NO_KERNEL,
    KNetView,
    explain_detector,
    explain_pairs,
    explain_semantic,
    watched,
)
from paperzoo.knet import MaskHungarianAssigner, kernels
from paperzoo.knet.assigner import Assignment, Matching
from paperzoo.knet.pasting import Sizes, enlarged_blocks
from paperzoo.utils.masks import INSTANCE_OFFSET

CONFIGS = Path(__file__).parents[3] / 'configs' / 'knet'
TASKS = ['instance', 'panoptic']


@cache
def read(task: str) -> Config:
    return Config.fromfile(str(CONFIGS / f'knet_tiny_shapes_{task}.py'))


def case(task: str, objects: int = 3, **roi_head: Any) -> tuple[Any, Any, Any]:
    """A narrow random model of a tiny config, an image and its annotated sample."""
    cfg = copy.deepcopy(read(task))
    init_default_scope(cfg.default_scope)
    if roi_head:
        cfg.model.roi_head.update(roi_head)
    model = small_model(cfg).eval()
    return model, images(cfg, 1), samples(cfg, 1, objects)[0]


def explained(task: str, **options: Any) -> tuple[Any, Any, Any, KNetView]:
    model, inputs, sample = case(task, **options)
    explain = explain_semantic if task == 'semantic' else explain_detector
    return model, inputs, sample, explain(model, inputs, sample)


@pytest.mark.parametrize('stages', [0, 3])
@pytest.mark.parametrize('task', TASKS)
def test_the_last_masks_and_classes_are_the_models_own(task: str, stages: int) -> None:
    options = {} if stages else {'num_stages': 0}
    model, inputs, _, view = explained(task, **options)
    with torch.no_grad():
        cls_score, masks = model._forward(inputs)
    assert len(view.stages) == stages + 1
    assert_close(view.stages[-1].mask_logits, masks[0], rtol=0, atol=0)
    assert_close(view.stages[-1].cls_score, cls_score[0], rtol=0, atol=0)
    assert_close(view.stages[-1].mask_probs, masks[0].sigmoid())


def test_the_last_class_kernels_are_the_segmentors_own() -> None:
    model, inputs, sample, view = explained('semantic')
    with torch.no_grad():
        logits = model.decode_head(model.extract_feat(inputs))
        # In training the head returns the masks of all stages.
        for module in (model.decode_head, model):
            module.training = True
        losses = model.loss(inputs, [sample])
    assert len(view.stages) == model.decode_head.num_stages + 1
    assert_close(view.stages[-1].mask_logits, logits[0], rtol=0, atol=0)
    for stage in view.stages:
        ones = torch.ones_like(stage.mask_probs[0])
        assert_close(stage.mask_probs.sum(0), ones)
    total, logged = model.parse_losses(losses)
    assert view.losses.keys() == logged.keys() >= losses.keys()
    for key, value in logged.items():
        assert view.losses[key] == pytest.approx(float(value)), key
    assert view.losses['loss'] == pytest.approx(float(total))
    assert not model.decode_head.training or model.training


@pytest.mark.paper('knet "Training Instance Kernels"')
@pytest.mark.parametrize('task', TASKS)
def test_costs_and_matching_are_those_of_training(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, sample, view = explained(task)
    costs, chosen = [], []
    solve = MaskHungarianAssigner.solve

    def spy(self: MaskHungarianAssigner, cost: np.ndarray) -> np.ndarray:
        costs.append(torch.from_numpy(cost.copy()))
        chosen.append(torch.from_numpy(solve(self, cost)))
        return chosen[-1].numpy()

    monkeypatch.setattr(MaskHungarianAssigner, 'solve', spy)
    with torch.no_grad():
        losses = model.loss(inputs, [sample])
    assert len(costs) == 4  # the initial kernels, then three stages
    places = [made.matching.place for made in view.assignments]
    assert [place.partition(',')[0] for place in places[:2]] == [
        'initial kernels',
        'stage 0',
    ]
    for made, pairs, cost, gt_inds in zip(
        view.assignments, view.pairs, costs, chosen, strict=True
    ):
        assert_close(made.cost, cost)
        assert_close(sum(made.terms.values()), cost)
        assert_close(made.gt_inds, gt_inds)
        held = {(pair.kernel, pair.item + 1) for pair in pairs}
        assert held == {(k, int(i)) for k, i in enumerate(gt_inds) if i}
    assert list(view.assignments[0].terms) == ['mask_cost', 'dice_cost']
    assert list(view.assignments[-1].terms) == ['cls_cost', 'mask_cost', 'dice_cost']
    for key, value in losses.items():
        assert view.losses[key] == pytest.approx(float(value)), key
    total = model.parse_losses(losses)[0]
    assert view.losses['loss'] == pytest.approx(float(total))


@st.composite
def cost_matrices(draw: st.DrawFn) -> np.ndarray:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.integers(-20, 20)
    cells = draw(st.lists(numbers, min_size=rows * columns, max_size=rows * columns))
    return np.array(cells, dtype=np.float64).reshape(rows, columns)


def every_way(cost: np.ndarray) -> list[dict[int, int]]:
    """All ways to make as many pairs as there can be, from kernel to object."""
    rows, columns = cost.shape
    if rows >= columns:
        return [
            {kernel: item for item, kernel in enumerate(order)}
            for order in permutations(range(rows), columns)
        ]
    return [dict(enumerate(order)) for order in permutations(range(columns), rows)]


def made(cost: np.ndarray) -> Assignment:
    """The assignment of a matrix of costs."""
    assigner = MaskHungarianAssigner()
    gt_inds = torch.from_numpy(assigner.solve(cost))
    nothing = InstanceData()
    matching = Matching(assigner, nothing, nothing)
    return Assignment(gt_inds, torch.from_numpy(cost), {}, matching)


@settings(max_examples=40)
@given(cost_matrices())
def test_what_forbidding_a_pair_costs(cost: np.ndarray) -> None:
    ways = {
        frozenset(way.items()): sum(cost[k, i] for k, i in way.items())
        for way in every_way(cost)
    }
    for pair in explain_pairs(made(cost)):
        own = (pair.kernel, pair.item)
        others = [total for way, total in ways.items() if own not in way]
        extra = min(others) - min(ways.values()) if others else np.inf
        assert pair.extra == extra
        column = np.delete(cost[:, pair.item], pair.kernel)
        assert pair.next_cost == (column.min() if len(column) else np.inf)
        assert (pair.next_best == NO_KERNEL) == (len(column) == 0)
        assert pair.cost == cost[own]


def test_an_object_may_not_get_its_cheapest_kernel() -> None:
    # Kernel 0 is best for both objects; -8.5 together is less than -6.
    cost = np.array([[-5.0, -4.0], [-4.5, -1.0]])
    first, second = explain_pairs(made(cost))
    assert first == (1, 0, -4.5, 0, -5.0, 0, 2.5)
    assert second == (0, 1, -4.0, 1, -1.0, 1, 2.5)


@pytest.mark.paper('knet "Adaptive Kernel Update"')
@pytest.mark.parametrize('task', [*TASKS, 'semantic'])
def test_gates_are_those_of_the_update(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    update = kernels.update_kernels

    def spy(*args: torch.Tensor) -> torch.Tensor:
        seen.append((args[0], args[2]))
        return update(*args)

    monkeypatch.setattr(kernels, 'update_kernels', spy)
    view = explained(task)[3]
    for stage, (feature_gate, kernel_gate) in zip(view.stages[1:], seen, strict=False):
        assert_close(stage.feature_gate, feature_gate.flatten(1), rtol=0, atol=0)
        assert_close(stage.kernel_gate, kernel_gate.flatten(1), rtol=0, atol=0)
    assert len(view.stages) == 4
    assert view.stages[0].feature_gate is None


def test_attention_by_hand() -> None:
    model, inputs, _, view = explained('instance')
    head = model.kernel_iter_head
    with torch.no_grad(), watched(head.stages) as calls:
        head(model.kernel_init_head(model.extract_feat(inputs)))
    for stage, call in zip(view.stages[1:], calls, strict=True):
        layer = call['stage'].attention
        query, key, _ = torch.nn.functional.linear(
            call['kernels'][0], layer.in_proj_weight, layer.in_proj_bias
        ).chunk(3, dim=-1)
        query, key = (
            part.unflatten(1, (layer.num_heads, -1)).transpose(0, 1)
            for part in (query, key)
        )
        logits = query @ key.mT / query.size(-1) ** 0.5
        assert_close(stage.attention, logits.softmax(-1))


@pytest.mark.parametrize('task', ['instance', 'semantic'])
def test_nothing_is_left_behind(task: str) -> None:
    model, inputs, sample = case(task)
    with torch.no_grad():
        before = model(inputs, [sample])
    (explain_semantic if task == 'semantic' else explain_detector)(
        model, inputs, sample
    )
    for name, module in model.named_modules():
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name
    with torch.no_grad():
        assert_close(model(inputs, [sample]), before, rtol=0, atol=0)


def test_stages_that_share_weights_are_told_apart() -> None:
    view = explained('instance', recursive=True)[3]
    assert len(view.stages) == 4
    first, second = view.stages[1].attention, view.stages[2].attention
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)


def test_without_annotations_there_are_predictions_only() -> None:
    model, inputs, sample = case('instance')
    del sample.gt_instances
    view = explain_detector(model, inputs, sample)
    assert view.assignments == view.pairs == ()
    assert view.losses == {}
    assert len(view.stages) == 4


def test_an_image_without_objects() -> None:
    view = explained('instance', objects=0)[3]
    assert [made.cost.shape for made in view.assignments] == 4 * [(20, 0)]
    assert view.pairs == 4 * ((),)
    assert view.losses['s0_loss_dice'] == 0


def test_the_segments_are_the_models_map() -> None:
    model, inputs, sample = case('panoptic')
    # Random weights know no object well.
    merge = {'instance_score_thr': 0.0, 'overlap_thr': 0.0}
    model.kernel_iter_head.test_cfg = {'merge_stuff_thing': merge}
    all_kept = explain_detector(model, inputs, sample).segments
    assert all_kept is not None
    shares = (all_kept.won / all_kept.area)[all_kept.won > 0]
    # So that some segments keep enough of their masks, and some do not.
    merge['overlap_thr'] = float(shares.min() + shares.max()) / 2
    view = explain_detector(model, inputs, sample)
    found, answer = view.segments, view.panoptic
    assert found is not None
    assert answer is not None
    with torch.no_grad():
        result = model.predict(inputs, [sample.clone()])[0]
        masks = model._forward(inputs)[1][0]
    segments = result.pred_panoptic_seg.sem_seg[0]
    assert_close(answer, segments)
    assert_close(found.ids, segments)
    size = segments.shape
    blocks = enlarged_blocks(masks, Sizes(size, size, size))
    probs = torch.cat([block for _, block in blocks])
    products = found.scores[:, None, None] * probs
    assert_close(found.winner.long(), products.argmax(0))
    kept = torch.tensor([not why for why in found.removed])[found.winner.long()]
    assert_close(kept, segments != 10)
    own = found.labels[found.winner.long()]
    assert_close((segments % INSTANCE_OFFSET)[kept], own[kept])
    assert 0 < kept.sum() < kept.numel(), 'the case is too easy to tell'
    last = view.stages[-1]
    assert_close(last.scores, found.scores)
    assert_close(last.labels, found.labels)
    assert found.labels[-3:].tolist() == [7, 8, 9], 'a stuff kernel has one class'
    assert_close(found.won, found.winner.flatten().bincount(minlength=23))
    assert_close(found.area, (probs >= 0.5).sum((1, 2)))
