"""Transforms of single images keep what they should keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.data.few_shot_transforms import (
    ImageCenterCrop,
    ImageColorJitter,
    ImageRandomCrop,
    ImageRandomErasing,
    ImageRandomFlip,
    ImageResize,
    ImageTransform,
)
from paperzoo.errors import UserError

SEEDS = st.integers(0, 2**32 - 1)


def picture(height: int = 12, width: int = 9, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(transform: ImageTransform, img: np.ndarray, seed: int = 0) -> np.ndarray:
    before = img.copy()
    result = transform({'img': img, 'rng': np.random.default_rng(seed), 'other': 1})
    np.testing.assert_array_equal(img, before)  # others may use the same pixels
    assert result['other'] == 1
    assert result['img'].dtype == np.uint8
    return result['img']


def test_resize_sets_the_short_side() -> None:
    assert changed(ImageResize(6), picture(12, 9)).shape == (8, 6, 3)
    flat = np.full((5, 7, 3), 77, np.uint8)
    np.testing.assert_array_equal(
        changed(ImageResize(10), flat), np.full((10, 14, 3), 77)
    )
    same = picture(9, 9)
    np.testing.assert_array_equal(changed(ImageResize(9), same), same)


def test_center_crop_is_the_middle() -> None:
    img = picture(12, 9)
    np.testing.assert_array_equal(changed(ImageCenterCrop(5), img), img[3:8, 2:7])


@given(SEEDS)
def test_random_crop_is_a_part_of_the_bordered_image(seed: int) -> None:
    img = picture(8, 8)
    found = changed(ImageRandomCrop(8, padding=2, fill=9), img, seed)
    bordered = np.full((12, 12, 3), 9, np.uint8)
    bordered[2:10, 2:10] = img
    parts = [bordered[y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
    assert sum(np.array_equal(found, part) for part in parts) == 1


def test_random_crop_reaches_every_place() -> None:
    img = picture(4, 4)
    crop = ImageRandomCrop(4, padding=1)
    assert len({changed(crop, img, seed).tobytes() for seed in range(200)}) == 9


def test_flip_mirrors_half_of_the_images() -> None:
    img = picture()
    flipped = [changed(ImageRandomFlip(), img, seed) for seed in range(200)]
    mirrored = [np.array_equal(one, img[:, ::-1]) for one in flipped]
    assert 70 < sum(mirrored) < 130
    for one, is_mirrored in zip(flipped, mirrored, strict=True):
        np.testing.assert_array_equal(one, img[:, ::-1] if is_mirrored else img)


@given(SEEDS)
def test_jitter_of_no_strength_changes_nothing(seed: int) -> None:
    img = picture(seed=seed % 1000)
    found = changed(ImageColorJitter(0.0), img, seed)
    np.testing.assert_allclose(found.astype(int), img, atol=1)


@given(SEEDS)
def test_jitter_leaves_grey_grey(seed: int) -> None:
    grey = np.repeat(picture(seed=1)[..., :1], 3, axis=-1)
    found = changed(ImageColorJitter(0.4), grey, seed).astype(int)
    assert np.ptp(found, axis=-1).max() <= 1


def test_jitter_draws_other_colours() -> None:
    img = picture()
    found = {changed(ImageColorJitter(0.4), img, seed).tobytes() for seed in range(9)}
    assert len(found) == 9


@given(SEEDS)
def test_erasing_paints_one_rectangle(seed: int) -> None:
    img = np.full((20, 30, 3), 200, np.uint8)
    found = changed(ImageRandomErasing(1.0, (0.1, 0.3), (1, 2, 3)), img, seed)
    painted = (found == [1, 2, 3]).all(-1)
    rows, columns = painted.any(1), painted.any(0)
    np.testing.assert_array_equal(painted, rows[:, None] & columns)
    assert (found[~painted] == 200).all()
    assert (np.diff(np.flatnonzero(rows)) == 1).all()
    assert (np.diff(np.flatnonzero(columns)) == 1).all()
    # The greatest area with the most uneven sides, rounded up, is no more than this.
    assert 0 < painted.sum() <= 0.3 * 600 + 30


@pytest.mark.parametrize('prob', [0.0, 1.0])
def test_erasing_is_done_with_its_probability(prob: float) -> None:
    img = np.full((20, 30, 3), 200, np.uint8)
    found = [changed(ImageRandomErasing(prob), img, seed) for seed in range(20)]
    assert sum((one != img).any() for one in found) == 20 * prob


def test_the_same_generator_gives_the_same_image() -> None:
    img = picture(10, 10)
    for transform in (ImageColorJitter(0.4), ImageRandomErasing(1.0)):
        np.testing.assert_array_equal(
            changed(transform, img, 5), changed(transform, img, 5)
        )


@pytest.mark.parametrize('crop', [ImageCenterCrop(9), ImageRandomCrop(13, padding=2)])
def test_crops_larger_than_the_image_are_refused(crop: ImageTransform) -> None:
    with pytest.raises(UserError, match=r'does not fit into an image of \d+ x \d+'):
        crop({'img': np.zeros((8, 10, 3), np.uint8)})
