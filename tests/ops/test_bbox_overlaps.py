from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references.mmcv_ops import iou
from torch import Tensor

from paperzoo.compat import mmcv_ext
from paperzoo.ops.bbox_overlaps import bbox_overlaps

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

corner = st.integers(0, 6)
rows_of_boxes = st.lists(
    st.tuples(corner, corner, corner, corner), min_size=1, max_size=9
)
MODES = pytest.mark.parametrize('mode', ['iou', 'iof'])


def boxes_of(rows: list[tuple[int, ...]]) -> Tensor:
    table = torch.tensor(rows, dtype=torch.float32)
    return torch.cat((table[:, :2], table[:, :2] + table[:, 2:]), dim=1)


def overlap(first: np.ndarray, second: np.ndarray, mode: str, offset: int) -> float:
    """IoU, or the same intersection over the first box's own area."""
    if mode == 'iou':
        return iou(first, second, offset)
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    inter = np.maximum(high - low + offset, 0).prod()
    with np.errstate(invalid='ignore', divide='ignore'):
        return inter / (first[2:] - first[:2] + offset).prod()


@given(rows_of_boxes, rows_of_boxes, st.sampled_from(['iou', 'iof']), st.integers(0, 1))
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(rows1, rows2, mode, offset):
    first, second = boxes_of(rows1), boxes_of(rows2)
    wanted = torch.tensor(
        [
            [float(overlap(a, b, mode, offset)) for b in second.numpy()]
            for a in first.numpy()
        ]
    )
    actual = mmcv_ops.bbox_overlaps(first, second, mode, offset=offset)
    torch.testing.assert_close(actual, wanted, equal_nan=True)
    number = min(len(first), len(second))
    pairs = mmcv_ops.bbox_overlaps(
        first[:number], second[:number], mode, aligned=True, offset=offset
    )
    torch.testing.assert_close(pairs, wanted.diagonal(), equal_nan=True)


@given(rows_of_boxes, st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_iou_is_symmetric_and_one_with_itself(rows, offset):
    boxes = boxes_of(rows)
    table = mmcv_ops.bbox_overlaps(boxes, boxes, offset=offset)
    torch.testing.assert_close(table, table.T, equal_nan=True)
    area = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    own = torch.where(area > 0, 1.0, float('nan'))
    torch.testing.assert_close(table.diagonal(), own, equal_nan=True)


def test_by_hand():
    first, second = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 4, 2]])
    for mode, aligned, offset, wanted in (
        ('iou', False, 0, [[2 / 8]]),
        ('iof', False, 0, [[2 / 4]]),
        ('iou', True, 1, [6 / 15]),
        ('iof', True, 1, [6 / 9]),
    ):
        actual = mmcv_ops.bbox_overlaps(first, second, mode, aligned, offset)
        torch.testing.assert_close(actual, torch.tensor(wanted))


@MODES
def test_gradient(mode):
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 3, 2, generator=generator, dtype=torch.double)
    first, second = torch.cat((low, low + 1.5), dim=2).requires_grad_().unbind()

    def overlaps(one: Tensor, two: Tensor) -> Tensor:
        return bbox_overlaps(one[:, None], two, mode)

    first, second = (x.detach().requires_grad_() for x in (first, second))
    assert torch.autograd.gradcheck(overlaps, (first, second))


@MODES
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(mode, dtype):
    boxes = (torch.rand(20, 4) * 400).sort(1)[0][:, [0, 1, 2, 3]].to(dtype)
    with torch.autocast('cpu', dtype):
        actual = mmcv_ops.bbox_overlaps(boxes, boxes.flip(0), mode)
    single = mmcv_ops.bbox_overlaps(boxes.float(), boxes.float().flip(0), mode)
    torch.testing.assert_close(actual, single.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_no_box_and_strided_boxes():
    boxes = boxes_of([(0, 0, 4, 4), (1, 0, 4, 4), (2, 2, 4, 4)])
    none = torch.zeros(0, 4)
    assert mmcv_ops.bbox_overlaps(none, boxes).shape == (0, 3)
    assert mmcv_ops.bbox_overlaps(boxes, none).shape == (3, 0)
    assert mmcv_ops.bbox_overlaps(none, none, aligned=True).shape == (0,)
    strided = boxes.T.contiguous().T
    actual = mmcv_ops.bbox_overlaps(strided, strided)
    torch.testing.assert_close(actual, mmcv_ops.bbox_overlaps(boxes, boxes))


@MODES
@pytest.mark.parametrize('aligned', [True, False])
def test_of_integer_boxes_only_whole_overlaps_are_left(mode, aligned):
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    actual = mmcv_ops.bbox_overlaps(boxes, boxes, mode, aligned)
    same = torch.eye(3, dtype=torch.long)  # as compiled mmcv 2.1
    torch.testing.assert_close(actual, same.diagonal() if aligned else same)
