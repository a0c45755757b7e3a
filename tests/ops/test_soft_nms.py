import math
from importlib import import_module
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_box_ops as reference
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops import soft_nms as module

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

# Few different coordinates and scores: equal boxes, equal scores and overlaps equal to
# the threshold all occur, and empty boxes, whose overlap 0/0 makes scores NaN.
corner, size = st.integers(0, 6), st.integers(0, 6)
score = st.integers(1, 8) | st.just(math.nan)
rows_of_boxes = st.lists(
    st.tuples(corner, corner, size, size, score), min_size=1, max_size=30
)
METHODS = ['naive', 'linear', 'gaussian']


def tensors(rows: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(rows, dtype=torch.float32)
    low, extent = table[:, :2], table[:, 2:4]
    return torch.cat((low, low + extent), dim=1), table[:, 4] / 8


@given(
    rows_of_boxes,
    st.sampled_from(METHODS),
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-3, 0.2, 0.5]),
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1000]),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(rows, method, threshold, min_score, offset, pairs):
    boxes, scores = tensors(rows)
    with patch.object(module, '_ALL_PAIRS', pairs):
        dets, kept = mmcv_ops.soft_nms(
            boxes, scores, threshold, 0.5, min_score, method, offset
        )
    wanted, found = reference.soft_nms(
        boxes, scores, threshold, 0.5, min_score, method, offset
    )
    assert kept.tolist() == wanted
    torch.testing.assert_close(dets[:, :4], boxes[wanted])
    torch.testing.assert_close(dets[:, 4], torch.tensor(found), equal_nan=True)


@pytest.mark.parametrize('method', METHODS)
def test_a_score_that_is_not_a_number_is_last_unless_it_is_first(method):
    boxes, _ = tensors([(0, 0, 2, 2, 1), (5, 5, 1, 1, 1), (9, 9, 1, 1, 1)])
    cases = ([0.4, math.nan, 0.6], [2, 1, 0]), ([math.nan, 1, 2], [0, 2, 1])
    for scores, order in cases:
        _, kept = mmcv_ops.soft_nms(boxes, torch.tensor(scores), method=method)
        assert kept.tolist() == order  # as compiled mmcv 2.1


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_scores_of_many_boxes_fall(method, threshold):
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(300, 2, generator=generator) * 50
    boxes = torch.cat((low, low + 10), dim=1)
    scores = torch.rand(300, generator=generator)
    dets, kept = mmcv_ops.soft_nms(boxes, scores, threshold, 0.5, 1e-3, method)
    wanted, found = reference.soft_nms(boxes, scores, threshold, 0.5, 1e-3, method, 0)
    assert kept.tolist() == wanted
    torch.testing.assert_close(dets[:, 4], torch.tensor(found))
    assert (dets[:, 4].diff() <= 0).all()
    assert (dets[:, 4] <= scores[kept]).all()


def test_naive_without_a_smallest_score_is_nms():
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(200, 2, generator=generator) * 50
    boxes = torch.cat((low, low + 10), dim=1)
    scores = torch.rand(200, generator=generator)
    _, kept = mmcv_ops.soft_nms(boxes, scores, 0.5, min_score=1e-6, method='naive')
    torch.testing.assert_close(kept, mmcv_ops.nms(boxes, scores, 0.5)[1])


def test_by_hand():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6]])
    scores = torch.tensor([0.8, 0.6, 0.4])
    dets, kept = mmcv_ops.soft_nms(boxes, scores, 0.3, method='linear')
    assert kept.tolist() == [0, 2, 1]  # the second has 0.6 (1 - 1/2)
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.8, 0.4, 0.3]))
    dets, _ = mmcv_ops.soft_nms(boxes, scores, sigma=0.5, method='gaussian')
    fallen = 0.6 * math.exp(-0.25 / 0.5)
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.8, 0.4, fallen]))


def test_the_inputs_stay():
    boxes, scores = tensors([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (0, 1, 4, 4, 4)])
    before = boxes.clone(), scores.clone()
    mmcv_ops.soft_nms(boxes, scores, 0.3, min_score=0.5)
    torch.testing.assert_close((boxes, scores), before, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.double])
def test_other_dtypes(dtype):
    boxes, scores = tensors([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (0, 1, 4, 4, 4)])
    dets, kept = mmcv_ops.soft_nms(boxes.to(dtype), scores.to(dtype), 0.3)
    wanted, order = mmcv_ops.soft_nms(boxes, scores, 0.3)
    assert dets.dtype == dtype
    torch.testing.assert_close(kept, order)
    torch.testing.assert_close(dets, wanted.to(dtype))


def test_integer_boxes_are_refused():
    # The scores would be written into a tensor of integers, as zeros.
    boxes, scores = tensors([(0, 0, 4, 4, 3)])
    with pytest.raises(UserError, match=r'soft_nms: boxes .*torch.int64.*float'):
        mmcv_ops.soft_nms(boxes.long(), scores)


def test_views_and_arrays():
    boxes, scores = tensors([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (0, 1, 4, 4, 4)])
    table = torch.cat((boxes, scores[:, None]), dim=1)
    wanted, order = mmcv_ops.soft_nms(boxes, scores, 0.3)
    dets, kept = mmcv_ops.soft_nms(table[:, :4], table[:, 4], 0.3)
    torch.testing.assert_close((dets, kept), (wanted, order))
    dets, kept = mmcv_ops.soft_nms(boxes.numpy(), scores.numpy(), 0.3)
    np.testing.assert_array_equal(kept, order.numpy())
    np.testing.assert_array_equal(dets, wanted.numpy())


def test_no_box():
    dets, kept = mmcv_ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long


def test_batched_nms_with_soft_nms_of_a_detector():
    boxes, scores = tensors([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (0, 1, 4, 4, 4)])
    labels = torch.tensor([0, 0, 1])
    cfg = {'type': 'soft_nms', 'iou_threshold': 0.3, 'min_score': 0.05}
    dets, kept = mmcv_ops.batched_nms(boxes, scores, labels, cfg)
    # Overlap of the first two: 12 / 20. The third is of another class.
    assert kept.tolist() == [1, 2, 0]
    torch.testing.assert_close(dets[:, 4], torch.tensor([5 / 8, 4 / 8, 3 / 8 * 0.4]))
