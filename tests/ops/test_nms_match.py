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
from paperzoo.ops import nms_cpu

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

corner = st.integers(0, 6)
rows_of_boxes = st.lists(
    st.tuples(corner, corner, corner, corner, st.integers(0, 8)),
    min_size=1,
    max_size=40,
)


def detections(rows: list[tuple[int, ...]]) -> Tensor:
    table = torch.tensor(rows, dtype=torch.float32)
    table[:, 2:4] += table[:, :2]
    return table


def lists(groups: list[Tensor]) -> list[list[int]]:
    return [group.tolist() for group in groups]


@given(rows_of_boxes, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0]))
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(rows, threshold):
    dets = detections(rows)
    with patch.multiple(nms_cpu, _CHUNK=7, _HEAD=3, _PAIRS=1):
        groups = mmcv_ops.nms_match(dets, threshold)
    wanted = reference.nms_match(dets[:, :4], dets[:, 4], threshold)
    assert lists(groups) == wanted
    assert all(group.dtype == torch.long for group in groups)


@given(rows_of_boxes, st.sampled_from([0.25, 0.5]))
@settings(max_examples=50, deadline=None)
def test_groups_are_a_partition(rows, threshold):
    groups = lists(mmcv_ops.nms_match(detections(rows), threshold))
    members = sorted(index for group in groups for index in group)
    assert members == list(range(len(rows)))


def test_many_boxes_take_several_rounds():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(700, 2, generator=generator) * 60
    dets = torch.cat((low, low + 10, torch.rand(700, 1, generator=generator)), dim=1)
    wanted = reference.nms_match(dets[:, :4], dets[:, 4], 0.3)
    assert lists(mmcv_ops.nms_match(dets, 0.3)) == wanted


def test_an_overlap_equal_to_the_threshold_suppresses():
    dets = torch.tensor([[0.0, 0, 2, 2, 0.2], [0, 0, 2, 1, 0.9]])  # IoU 2/4
    assert lists(mmcv_ops.nms_match(dets, 0.5)) == [[1, 0]]
    assert lists(mmcv_ops.nms_match(dets, 0.5001)) == [[1], [0]]


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.double])
def test_other_dtypes(dtype):
    dets = detections([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (9, 1, 4, 4, 4)]).to(dtype)
    assert lists(mmcv_ops.nms_match(dets, 0.3)) == [[1, 0], [2]]


def test_integers():
    dets = torch.tensor([[0, 0, 10, 10, 9], [1, 1, 11, 11, 8], [30, 0, 40, 9, 7]])
    assert lists(mmcv_ops.nms_match(dets, 0.5)) == [[0, 1], [2]]


def test_no_box_and_arrays():
    assert mmcv_ops.nms_match(torch.zeros(0, 5), 0.3) == []
    dets = detections([(0, 0, 4, 4, 3), (1, 0, 4, 4, 5), (9, 1, 4, 4, 4)]).numpy()
    groups = mmcv_ops.nms_match(dets, 0.3)
    assert all(isinstance(group, np.ndarray) for group in groups)
    assert [group.tolist() for group in groups] == [[1, 0], [2]]
