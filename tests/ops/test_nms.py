from importlib import import_module
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references.mmcv_ops import greedy_nms
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops import nms as module
from paperzoo.ops import nms_cpu
from paperzoo.ops.bbox_overlaps import bbox_overlaps

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

# Few different coordinates and scores: equal boxes, equal scores, empty boxes and
# overlaps equal to the threshold all occur.
corner = st.integers(0, 6)
boxes_and_scores = st.lists(
    st.tuples(corner, corner, corner, corner, st.integers(0, 8)),
    min_size=1,
    max_size=40,
)
thresholds = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0])


def tensors(rows: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(rows, dtype=torch.float32)
    low, size = table[:, :2], table[:, 2:4]
    return torch.cat((low, low + size), dim=1), table[:, 4]


def clusters(number: int, objects: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(objects, (number,), generator=generator)
    centre = torch.rand(objects, 2, generator=generator)[owner] * 500
    centre = centre + torch.randn(number, 2, generator=generator) * 5
    size = torch.rand(number, 2, generator=generator) * 30 + 30
    boxes = torch.cat((centre - size / 2, centre + size / 2), dim=1)
    return boxes, torch.rand(number, generator=generator)


def found_on_both_sides(boxes: Tensor, threshold: float, offset: int = 0) -> Tensor:
    """Which boxes overlap which, each against all, by their left edges."""
    table = nms_cpu.with_area(boxes.T.contiguous().numpy(), offset)
    by_left = table[0].argsort()
    others = nms_cpu.take(table, by_left)
    found = torch.zeros(len(boxes), len(boxes), dtype=torch.bool)
    for one, other in nms_cpu.suppressed_by(table, others, threshold, offset):
        found[one, by_left[other]] = True
    return found


@given(
    boxes_and_scores,
    thresholds,
    st.sampled_from([0, 1]),
    st.integers(1, 9),
    st.sampled_from([0, 4, 1000]),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_greedy_definition(rows, threshold, offset, head, partners):
    boxes, scores = tensors(rows)
    expected = greedy_nms(boxes, scores, threshold, offset)
    with patch.multiple(nms_cpu, _HEAD=head, _CHUNK=7, _PAIRS=partners):
        kept = module.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    torch.testing.assert_close(kept, expected, rtol=0, atol=0)


@pytest.mark.parametrize('scores', [3, 5])
def test_as_many_scores_as_boxes(scores: int) -> None:
    with pytest.raises(UserError, match=f'4 boxes, but {scores} scores'):
        module.nms(torch.rand(4, 4), torch.rand(scores), 0.5)


@pytest.mark.parametrize('partners', [0, 1000])
@pytest.mark.parametrize('objects', [20, 400])
def test_many_boxes_take_several_rounds(objects, partners):
    boxes, scores = clusters(1100, objects, seed=objects)
    with patch.object(nms_cpu, '_PAIRS', partners):
        kept = module.nms(boxes, scores, 0.5)
    # The definition by two properties that fix the result: no kept pair overlaps, and
    # each dropped box overlaps a better kept one.
    iou = bbox_overlaps(boxes[:, None], boxes) > 0.5
    is_kept = torch.zeros(len(boxes), dtype=torch.bool)
    is_kept[kept] = True
    better = scores[:, None] > scores
    beaten = (iou & better & is_kept[:, None]).any(dim=0)
    torch.testing.assert_close(is_kept, ~beaten)
    torch.testing.assert_close(scores[kept], scores[kept].sort(descending=True)[0])


def test_a_chain_keeps_every_second_box():
    # Each box overlaps only its neighbours, by 1/3: the longest way to the fixed point.
    left = torch.arange(300.0)
    boxes = torch.stack((left, left * 0, left + 2, left * 0 + 1), dim=1)
    kept = module.nms(boxes, -left, 0.3, 0)
    torch.testing.assert_close(kept, torch.arange(0, 300, 2))


@given(
    st.integers(0, 999),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.95, 1.0]),
    st.sampled_from([0, 1]),
    st.sampled_from([1e-3, 1.0, 1e4, 1e7]),
)
@settings(max_examples=60, deadline=None)
def test_no_overlap_is_missed_whatever_the_rounding(seed, threshold, offset, away):
    # Boxes far from the origin, as `batched_nms` moves them, lose their last digits.
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(80, 2, generator=generator) * 20
    size = 5 + torch.rand(80, 2, generator=generator)
    boxes = torch.cat((low, low + size), dim=1) + away
    every = bbox_overlaps(boxes[:, None], boxes, offset=offset)
    found = found_on_both_sides(boxes, threshold, offset)
    torch.testing.assert_close(found, every > threshold)


@pytest.mark.parametrize('threshold', [0.4, 0.6, 0.75, 0.9])
def test_no_overlap_of_nested_boxes_is_missed_by_a_last_digit(threshold):
    # A box and its right part, which is the share t of it, give or take some last
    # digits. Where the IoU in float32 is above t although the left edges are not less
    # than 1 - t of the width apart, rounding must not hide it from either of the two.
    generator = torch.Generator().manual_seed(0)
    hidden = torch.zeros(2)
    for width, height in 50 * torch.rand(100, 2, generator=generator) + 1:
        cut = width.double() * (1 - threshold) * (1 + torch.arange(-8, 9) * 3e-8)
        left = torch.cat((torch.zeros(1), cut.float()))
        boxes = torch.stack((left, left * 0, left * 0 + width, left * 0 + height), 1)
        wanted = bbox_overlaps(boxes[:, None], boxes) > threshold
        torch.testing.assert_close(found_on_both_sides(boxes, threshold), wanted)
        left, width = left.double(), width.double()
        from_whole = left >= width * (1 - threshold)
        from_part = left >= (width - left) * (1 - threshold) / threshold
        hidden += torch.stack((from_whole, from_part))[:, wanted[0]].sum(1)
    assert (hidden > 10).all()  # else the cases show nothing


@given(boxes_and_scores, st.sampled_from([-0.5, -1e-3, 1e-3, 1.5]))
@settings(max_examples=50, deadline=None)
def test_thresholds_at_and_beyond_the_ends(rows, threshold):
    boxes, scores = tensors(rows)
    with patch.multiple(nms_cpu, _HEAD=4, _PAIRS=1):
        kept = module.nms(boxes, scores, threshold, 0)
    expected = greedy_nms(boxes, scores, threshold, 0)
    torch.testing.assert_close(kept, expected, rtol=0, atol=0)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-2, 9)), max_size=20),
    st.integers(1, 9),
)
@settings(max_examples=50, deadline=None)
def test_pairs_of_windows(windows, chunk):
    low, high = np.array(windows, dtype=np.int64).reshape(-1, 2).T
    with patch.object(nms_cpu, '_CHUNK', chunk):
        parts = list(nms_cpu._window_pairs(low, high))
    found = [(i, j) for one, other in parts for i, j in zip(one, other, strict=True)]
    assert found == [(i, j) for i, (a, b) in enumerate(windows) for j in range(a, b)]
    largest = max([b - a for a, b in windows], default=0)
    assert all(len(one) <= max(chunk, largest) for one, _ in parts)


@given(boxes_and_scores)
@settings(max_examples=50, deadline=None)
def test_threshold_one_keeps_all_and_sorts(rows):
    boxes, scores = tensors(rows)
    kept = module.nms(boxes, scores, 1.0, 0)
    expected = scores.sort(descending=True)[1]
    torch.testing.assert_close(kept, expected)


@given(boxes_and_scores, thresholds)
@settings(max_examples=50, deadline=None)
def test_what_was_kept_is_kept_again(rows, threshold):
    boxes, scores = tensors(rows)
    kept = module.nms(boxes, scores, threshold, 0)
    again = module.nms(boxes[kept], scores[kept], threshold, 0)
    torch.testing.assert_close(again.sort()[0], torch.arange(len(kept)))


def test_an_overlap_equal_to_the_threshold_is_allowed():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])  # IoU 2/4
    scores = torch.tensor([0.2, 0.9])
    assert module.nms(boxes, scores, 0.5, 0).tolist() == [1, 0]
    assert module.nms(boxes, scores, 0.4999, 0).tolist() == [1]


def test_offset_one_counts_the_last_pixel():
    boxes = torch.tensor(
        [[0.0, 0, 1, 1], [1, 0, 2, 1]]
    )  # 2x2 pixels, one column shared
    scores = torch.tensor([0.9, 0.2])
    assert module.nms(boxes, scores, 0.3, 1).tolist() == [0]  # 2/6
    assert module.nms(boxes, scores, 0.3, 0).tolist() == [0, 1]  # they only touch


def test_a_box_that_is_not_a_number_suppresses_nothing():
    boxes = torch.tensor([[float('nan'), 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert module.nms(boxes, scores, 0.5, 0).tolist() == [0, 1]


def test_boxes_that_need_a_gradient():
    boxes, scores = clusters(60, 5, seed=4)
    kept = module.nms(boxes.clone().requires_grad_(), scores, 0.5, 0)
    torch.testing.assert_close(kept, module.nms(boxes, scores, 0.5, 0))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.int64])
def test_other_dtypes_decide_like_float32(dtype):
    boxes, scores = clusters(200, 10, seed=1)
    boxes = boxes.to(dtype)
    kept = module.nms(boxes, scores, 0.5, 0)
    torch.testing.assert_close(kept, module.nms(boxes.float(), scores, 0.5, 0))


def test_no_box():
    kept = module.nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long


def test_mmcv_nms_calls_it():
    boxes, scores = clusters(120, 12, seed=2)
    dets, kept = mmcv_ops.nms(boxes, scores, 0.5, score_threshold=0.2, max_num=9)
    valid = (scores > 0.2).nonzero().squeeze(1)
    expected = valid[greedy_nms(boxes[valid], scores[valid], 0.5, 0)][:9]
    torch.testing.assert_close(kept, expected)
    rows = torch.cat((boxes[expected], scores[expected, None]), dim=1)
    torch.testing.assert_close(dets, rows)


def test_mmcv_batched_nms_suppresses_within_a_class_only():
    boxes, scores = clusters(90, 5, seed=3)
    labels = torch.arange(90) % 3
    cfg = {'type': 'nms', 'iou_threshold': 0.5}
    _, kept = mmcv_ops.batched_nms(boxes, scores, labels, cfg)
    parts = []
    for label in range(3):
        own = (labels == label).nonzero().squeeze(1)
        parts.append(own[greedy_nms(boxes[own], scores[own], 0.5, 0)])
    expected = torch.cat(parts)
    expected = expected[scores[expected].argsort(descending=True)]
    torch.testing.assert_close(kept, expected)
