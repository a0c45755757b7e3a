"""Confusion matrices and qualities: numbers by hand, and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.evaluation.confusion import (
    exchanged,
    match,
    object_confusion,
    object_quality,
    pixel_confusion,
    pixel_quality,
)
from paperzoo.utils.masks import Record, encode

EDGE, SIDE = st.integers(0, 40), st.integers(1, 40)
BOX = st.tuples(EDGE, EDGE, SIDE, SIDE).map(list)
RECORD = st.builds(
    lambda box, label, score: record(box, label, score),
    BOX,
    st.integers(0, 2),
    st.sampled_from([0.3, 0.5, 0.9]),
)


def record(box: list[int], label: int, score: float = 1.0) -> Record:
    return {'category_id': label, 'bbox': box, 'score': score}


def segment(mask: np.ndarray, label: int) -> Record:
    return {'category_id': label, 'segmentation': encode(mask)}


def test_by_hand() -> None:
    truth = [record([0, 0, 10, 10], 0), record([20, 0, 10, 10], 1)]
    found = [
        record([0, 0, 10, 10], 0, 0.9),  # right, IoU 1
        record([20, 0, 10, 5], 2, 0.8),  # the other object, IoU 0.5, wrong class
        record([0, 1, 10, 10], 0, 0.7),  # the first object again
    ]
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 2] = expected[3, 0] = 1
    np.testing.assert_array_equal(object_confusion(found, truth, 3), expected)
    # one right pair of IoU 1; two found wrongly, one missed
    assert object_quality(found, truth) == pytest.approx(1 / (1 + 2 / 2 + 1 / 2))


def test_the_higher_score_takes_the_object() -> None:
    truth = [record([0, 0, 10, 10], 0)]
    near, exact = record([0, 0, 10, 9], 1, 0.9), record([0, 0, 10, 10], 0, 0.8)
    pairs, alone, missed = match([exact, near], truth)
    assert pairs == [(1, 0, pytest.approx(0.9))]
    assert (alone, missed) == ([0], [])


def test_what_lies_in_an_ignored_object_does_not_count() -> None:
    crowd = {**record([0, 0, 50, 50], 0), 'ignored': True}
    inside, outside = record([10, 10, 5, 5], 0), record([48, 0, 10, 10], 0)
    counts = object_confusion([inside, outside], [crowd], 1)
    np.testing.assert_array_equal(counts, [[0, 0], [1, 0]])


def test_half_of_it_in_an_ignored_object_is_enough() -> None:
    crowd = {**record([0, 0, 50, 50], 0), 'ignored': True}
    half, less = record([45, 0, 10, 10], 0), record([46, 0, 10, 10], 0)
    assert match([half], [crowd]) == ([], [], [])
    assert match([less], [crowd]) == ([], [0], [])


def test_masks_are_compared_where_both_sides_have_them() -> None:
    left, right = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    left[:, 0], right[:, 3] = True, True
    box = {'bbox': [0, 0, 4, 4]}
    one, other = ({**segment(mask, 0), **box} for mask in (left, right))
    assert match([one], [other]) == ([], [0], [0])
    other.pop('segmentation')
    assert match([one], [other])[0] == [(0, 0, 1.0)]


@given(st.lists(RECORD, max_size=6), st.lists(RECORD, max_size=6))
def test_everything_is_counted_once(found: list[Record], truth: list[Record]) -> None:
    counts = object_confusion(found, truth, 3)
    labels = [one['category_id'] for one in truth]
    np.testing.assert_array_equal(counts.sum(1)[:3], np.bincount(labels, minlength=3))
    labels = [one['category_id'] for one in found]
    np.testing.assert_array_equal(counts.sum(0)[:3], np.bincount(labels, minlength=3))
    assert counts[3, 3] == 0
    assert 0 <= object_quality(found, truth) <= 1


@given(st.lists(BOX, max_size=5, unique_by=tuple))
def test_the_truth_itself_is_perfect(boxes: list[list[int]]) -> None:
    truth = [record(box, k % 3) for k, box in enumerate(boxes)]
    counts = object_confusion(truth, truth, 3)
    np.testing.assert_array_equal(counts, np.diag(counts.diagonal()))
    assert object_quality(truth, truth) == pytest.approx(1)


def test_pixels_by_hand() -> None:
    truth_map = np.array([[0, 0, 1], [1, 255, 255]])
    found_map = np.array([[0, 1, 1], [1, 0, 0]])
    truth, found = (
        [segment(plane == k, k) for k in (0, 1)] for plane in (truth_map, found_map)
    )
    counts = pixel_confusion(found, truth, 2, (2, 3))
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    # class 0: 1 of 2 pixels; class 1: 2 of 3
    assert pixel_quality(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_pixels_that_were_given_no_class_are_missed() -> None:
    whole = np.ones((2, 2), bool)
    counts = pixel_confusion([], [segment(whole, 0)], 2, (2, 2))
    np.testing.assert_array_equal(counts, [[0, 0, 4], [0, 0, 0], [0, 0, 0]])
    assert pixel_quality(counts) == 0


def test_nothing_at_all_is_perfect() -> None:
    assert object_quality([], []) == 1
    assert pixel_quality(pixel_confusion([], [], 2, (2, 2))) == 1


@pytest.mark.parametrize(
    ('rows', 'pairs'),
    [
        ([[9, 1, 0], [1, 9, 0], [0, 0, 9]], []),
        ([[0, 0, 9], [9, 0, 0], [0, 9, 0]], [(0, 2), (1, 0), (2, 1)]),
        ([[0, 9, 0], [9, 0, 0], [0, 0, 9]], [(0, 1), (1, 0)]),
        # All as one class: a weak model.
        ([[0, 9, 0], [0, 9, 0], [0, 9, 0]], []),
        ([[0, 4, 0], [9, 0, 0], [0, 0, 9]], []),
        # Half is no majority.
        ([[5, 5, 0], [9, 0, 0], [0, 0, 9]], []),
    ],
)
def test_classes_in_another_order(rows: list[list[int]], pairs: list) -> None:
    counts = np.zeros((4, 4), int)
    counts[:3, :3], counts[:, 3] = rows, 7
    assert exchanged(counts) == pairs
