"""Images for exported files: mmcv's resizing to the last bit, padding, what fits."""

import warnings

import numpy as np
import pytest
from exported_files import detection_card
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Resize

from paperzoo.errors import UserError
from paperzoo.runtime.card import Card
from paperzoo.runtime.images import fitted, prepare

SIDE = st.integers(8, 300)


@settings(max_examples=30, deadline=None)
@given(SIDE, SIDE, st.booleans())
def test_resized_as_mmcv_does(width: int, height: int, keep: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    card = detection_card(scale=(128, 96), keep_ratio=keep)
    wanted = Resize(scale=(128, 96), keep_ratio=keep)({'img': pixels})
    made = prepare(pixels, card)
    rows, columns = made.image_size
    assert (rows, columns) == wanted['img_shape']
    np.testing.assert_array_equal(
        made.images[0, :, :rows, :columns], wanted['img'].transpose(2, 0, 1)
    )
    assert made.result_size.tolist() == [height, width]


def test_padded_with_zeros_to_the_right_and_below() -> None:
    made = prepare(np.full((40, 50, 3), 7, np.uint8), detection_card())
    assert made.images.shape == (1, 3, 64, 64)
    assert (made.images[0, :, :40, :50] == 7).all()
    assert made.images.sum(dtype=int) == 7 * 3 * 40 * 50


def test_an_upright_image_fits_into_a_lying_file() -> None:
    card = detection_card(scale=(256, 192), size=(256, 192), batch=1)
    assert fitted((640, 480), card) == (256, 192)
    assert fitted((480, 640), card) == (144, 192)
    made = prepare(np.zeros((640, 480, 3), np.uint8), card)
    assert made.images.shape == (1, 3, 192, 256)


def test_what_does_not_fit_is_refused() -> None:
    card = detection_card(size=(64, 64), batch=1)
    with pytest.raises(UserError, match=r'65 x 10 pixels does not fit .* 64 x 64'):
        prepare(np.zeros((10, 65, 3), np.uint8), card)
    with pytest.raises(UserError, match='too narrow'):
        fitted((5000, 1), detection_card(scale=(100, 80)))


def test_an_upright_image_in_a_lying_file_is_said() -> None:
    card = Card(
        task='detection', model='FCOS', classes=(), scale=(64, 32), size=(64, 32)
    )
    with pytest.warns(UserWarning, match='Export with --dynamic'):
        assert fitted((20, 40), card) == (16, 32)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert fitted((40, 20), card) == (64, 32)
