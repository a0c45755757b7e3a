"""Pictures of records."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.utils.masks import encode
from paperzoo.visualization.overlays import (
    beside,
    color_of,
    deepest,
    draw,
    titled,
    write_page,
)

GREY = np.full((60, 80, 3), 100, np.uint8)


def test_a_mask_is_blended_where_it_is_and_nowhere_else() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    picture = draw(GREY, [{'category_id': 3, 'segmentation': encode(mask)}], alpha=0.5)
    inner = picture[22:38, 32:48].reshape(-1, 3)
    expected = (0.5 * 100 + 0.5 * np.array(color_of(3))).astype(np.uint8)
    np.testing.assert_array_equal(inner, np.tile(expected, (len(inner), 1)))
    np.testing.assert_array_equal(picture[~mask], GREY[~mask])
    assert (GREY == 100).all()


def test_a_box_and_its_label_are_drawn() -> None:
    box = {'category_id': 1, 'category': 'dog', 'bbox': [10, 30, 40, 20]}
    picture = draw(GREY, [box])
    assert tuple(picture[50, 30]) == color_of(1)
    assert tuple(picture[40, 50]) == color_of(1)
    assert (picture[40, 30] == 100).all()
    assert (picture[25:30, 10:30] == 0).any()


@given(st.lists(st.booleans(), min_size=12, max_size=12).filter(any))
def test_the_deepest_pixel_is_inside(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(3, 4)
    x, y = deepest(mask)
    assert mask[y, x]


def test_the_deepest_pixel_of_a_ring_is_in_its_thick_side() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 10:60] = True
    mask[15:45, 15:40] = False  # leaves 20 pixels at the right
    x, y = deepest(mask)
    assert 47 <= x <= 52
    assert 15 <= y < 45


def test_a_mask_of_another_size_is_refused() -> None:
    small = {'category_id': 0, 'segmentation': encode(np.ones((4, 4), bool))}
    with pytest.raises(ValueError, match='mask of'):
        draw(GREY, [small])


def test_colors_of_classes_differ() -> None:
    colors = [color_of(label) for label in range(80)]
    assert len(set(colors)) == 80
    near = [np.abs(np.subtract(*pair)).sum() for pair in pairwise(colors)]
    assert min(near) > 100


def test_a_page_holds_every_picture(tmp_path: Path) -> None:
    page = write_page(
        tmp_path / 'new' / 'page.png', [('one', GREY)] * 3, columns=2, width=40
    )
    height, width, _ = cv2.imread(str(page)).shape
    assert (height, width) == (2 * (22 + 30 + 8), 2 * (40 + 8) + 8)
    assert titled(GREY, 'x', 160).shape == (22 + 120, 160, 3)
    assert beside(GREY, GREY).shape == (60, 160, 3)
