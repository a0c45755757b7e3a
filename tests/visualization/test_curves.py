"""Curves: every part of a long training is seen, and nothing that is no number."""

from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.visualization.curves import draw_curves, draw_precision_recall, thinned


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_means_of_parts_keep_the_mean(values: list[float], points: int) -> None:
    steps, means = thinned(values, points)
    assert len(steps) == len(means) == min(points, len(values))
    assert (np.diff(steps) > 0).all()
    assert min(values) - 1e-6 <= means.min()
    assert means.max() <= max(values) + 1e-6
    if len(values) % len(means) == 0:
        np.testing.assert_allclose(means.mean(), np.mean(values), atol=1e-9)


def test_what_is_no_number_is_left_out() -> None:
    steps, means = thinned([1.0, np.nan, 3.0, np.inf])
    assert steps.tolist() == [1, 3]
    assert means.tolist() == [1, 3]
    assert len(thinned([np.nan])[0]) == 0


def test_pictures_show_the_numbers(tmp_path: Path) -> None:
    def picture(values: list[float], name: str = 'loss') -> np.ndarray:
        file = draw_curves(tmp_path / 'a.png', {name: values}, {'mAP': [0.1, 0.2]})
        return np.asarray(cv2.imread(str(file)))

    falling, rising = picture([3, 2, 1]), picture([1, 2, 3])
    assert falling.shape == rising.shape
    assert (falling != rising).any()
    assert (picture([3, 2, 1], '损失') != picture([3, 2, 1], '精度')).any()
    assert (falling == picture([3, 2, 1])).all()


def test_many_classes(tmp_path: Path) -> None:
    curves = {f'class {number}': [1.0, 0.5, 0.0] for number in range(25)}
    file = draw_precision_recall(
        tmp_path / 'pr.png', curves, dict.fromkeys(curves, 0.5)
    )
    assert file.stat().st_size > 1000
