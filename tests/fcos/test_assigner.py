"""Which box each location learns."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
from references import fcos as reference
from torch import Tensor
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.fcos import (
    FCOSRangeAssigner,
    centerness,
    encode_ltrb,
    level_points,
)

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
TARGETS = sorted(path.stem for path in GOLDEN.glob('fcos_targets_*.npz'))
STRIDES = [(8.0, 8.0), (16.0, 16.0), (32.0, 32.0)]
RANGES = [(-1, 32), (32, 64), (64, 1e8)]
POINTS = [level_points((96 // int(s), 128 // int(s)), (s, s)) for s, _ in STRIDES]
COORDINATE = st.integers(0, 128).map(float)
BOX = st.tuples(*[COORDINATE] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
BOXES = st.lists(BOX, max_size=6)


def boxes_of(rows: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def assign(boxes: Tensor, points: list[Tensor] = POINTS, **options: object) -> Tensor:
    ranges = options.pop('regress_ranges', RANGES)
    return FCOSRangeAssigner(ranges, **options).assign(points, STRIDES, boxes)


def at(x: float, y: float) -> list[Tensor]:
    """The same point on each of the three levels."""
    return [torch.tensor([[x, y]])] * 3


@pytest.mark.paper('fcos "Multi-level Prediction with FPN"')
def test_ranges_include_both_ends() -> None:
    # The largest distance is exactly 32, then exactly 64, then a little more.
    for half, levels in ((32.0, [1, 1, 0]), (64.0, [0, 1, 1]), (64.5, [0, 0, 1])):
        box = boxes_of([(100 - half, 90, 100 + half, 110)])
        assert assign(box, at(100, 100)).tolist() == levels


@pytest.mark.paper('fcos "Fully Convolutional One-Stage Object Detector"')
def test_the_smallest_box_wins_and_the_first_of_equals() -> None:
    boxes = boxes_of([(0, 0, 30, 30), (5, 5, 25, 25), (6, 4, 26, 24)])
    assert assign(boxes, at(15, 15))[0] == 2
    assert assign(boxes[[0, 2, 1]], at(15, 15))[0] == 2
    assert assign(boxes, at(27, 27))[0] == 1


def test_a_point_on_an_edge_is_outside() -> None:
    box = boxes_of([(10, 10, 30, 30)])
    for x, y, inside in ((10, 20, 0), (30, 20, 0), (20, 10, 0), (20, 30, 0)):
        assert assign(box, at(x, y))[0] == inside
    assert assign(box, at(10.5, 29.5))[0] == 1


def test_centre_sampling_by_hand() -> None:
    # Centre (15, 15), radius 1.5 strides: 12 on the first level, 24 on the second.
    box = boxes_of([(-30, -30, 60, 60)])
    options = {'center_sampling': True, 'regress_ranges': [(-1, 1e8)] * 3}
    assert assign(box, at(26.5, 15), **options).tolist() == [1, 1, 1]
    assert assign(box, at(27, 15), **options).tolist() == [0, 1, 1]
    assert assign(box, at(15, 40), **options).tolist() == [0, 0, 1]
    options['center_sample_radius'] = 2.0
    assert assign(box, at(27, 15), **options).tolist() == [1, 1, 1]
    assert assign(boxes_of([(10, 10, 20, 20)]), at(21, 15), **options).sum() == 0


@settings(max_examples=40, deadline=None)
@given(BOXES, st.sampled_from([None, 1.0, 1.5]))
def test_equals_the_loop(rows: list[tuple], radius: float | None) -> None:
    options = {
        'center_sampling': radius is not None,
        'center_sample_radius': radius or 1.5,
    }
    expected = reference.assign(
        [[tuple(point) for point in level.tolist()] for level in POINTS],
        [stride for stride, _ in STRIDES],
        RANGES,
        rows,
        radius,
    )
    assert assign(boxes_of(rows), **options).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(BOXES, st.booleans(), st.integers(1, 4))
def test_the_chunk_does_not_matter(
    rows: list[tuple], center_sampling: bool, chunk: int
) -> None:
    boxes = boxes_of(rows)
    whole = assign(boxes, center_sampling=center_sampling)
    parts = assign(boxes, center_sampling=center_sampling, chunk=chunk)
    assert_close(parts, whole, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(BOXES, BOX)
def test_a_larger_box_takes_background_only(rows: list[tuple], extra: tuple) -> None:
    before = assign(boxes_of(rows))
    largest = max((reference.area(row) for row in rows), default=0.0)
    after = assign(boxes_of([*rows, extra]))
    kept = before[before > 0]
    if reference.area(extra) >= largest:
        assert_close(after[before > 0], kept, rtol=0, atol=0)
    assert not ((before > 0) & (after == 0)).any()


def test_memory_grows_with_points_not_with_boxes() -> None:
    largest = 0
    original = FCOSRangeAssigner._fits

    def watch(self: FCOSRangeAssigner, *args: object) -> Tensor:
        nonlocal largest
        fits = original(self, *args)
        largest = max(largest, fits.numel())
        return fits

    boxes = torch.rand(500, 4) * 60
    boxes[:, 2:] += 60
    with patch.object(FCOSRangeAssigner, '_fits', watch):
        assign(boxes, chunk=16)
    assert largest == len(POINTS[0]) * 16


def test_levels_must_match_the_ranges() -> None:
    with pytest.raises(UserError, match=r'regress_ranges has 2 levels, the head 3'):
        assign(boxes_of([]), regress_ranges=RANGES[:2])


def test_it_is_registered_for_everyone() -> None:
    config = {'type': 'paperzoo.FCOSRangeAssigner', 'center_sampling': True}
    built = MMDET_TASK_UTILS.build(config)
    assert isinstance(built, FCOSRangeAssigner)
    assert built.center_sampling


@pytest.mark.parametrize('name', TARGETS)
def test_golden(name: str) -> None:
    golden = np.load(GOLDEN / f'{name}.npz')
    hyper = json.loads(str(golden['meta']))['hyper']
    flat = torch.from_numpy(golden['in:points'])
    points = list(flat.split(golden['in:num_points_per_level'].tolist()))
    assigner = FCOSRangeAssigner(
        hyper['regress_ranges'],
        center_sampling=hyper['center_sampling'],
        center_sample_radius=hyper['radius'],
    )
    for image, expected in enumerate(torch.from_numpy(golden['out:mmdet.labels'])):
        boxes = torch.from_numpy(golden[f'in:gt_bboxes.{image}'])
        labels = torch.from_numpy(golden[f'in:gt_labels.{image}'])
        strides = [(stride, stride) for stride in hyper['strides']]
        gt_inds = assigner.assign(points, strides, boxes)
        found = torch.cat((torch.tensor([hyper['num_classes']]), labels))[gt_inds]
        assert_close(found, expected, rtol=0, atol=0)
        positive = gt_inds > 0
        ltrb = encode_ltrb(flat[positive], boxes[gt_inds[positive] - 1])
        for value, key in ((ltrb, 'ltrb'), (centerness(ltrb), 'centerness')):
            target = torch.from_numpy(golden[f'out:mmdet.{key}'][image])[positive]
            assert_close(value, target, rtol=0, atol=0)
