"""Only images that cannot be read whole are called broken."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from bombs import write_bomb
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paperzoo.preflight.image_files import evenly_spaced, is_broken, too_large


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp'])
def test_only_a_cut_image_is_broken(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f'image{suffix}'
    rng = np.random.default_rng(0)
    cv2.imwrite(str(file), rng.integers(0, 255, (60, 60, 3), np.uint8))
    whole = file.read_bytes()
    assert not is_broken(file)
    file.write_bytes(whole[: len(whole) // 2])
    assert is_broken(file)
    file.write_bytes(b'')
    assert is_broken(file)
    # Cameras write behind the end of a picture; it reads all the same.
    file.write_bytes(whole + bytes(5000))
    assert not is_broken(file)


def test_a_picture_without_pixels(tmp_path: Path) -> None:
    file = tmp_path / 'image.png'
    cv2.imwrite(str(file), np.ones((60, 60, 3), np.uint8))
    whole = file.read_bytes()
    start, end = whole.index(b'IDAT') - 4, whole.index(b'IEND') - 4
    file.write_bytes(whole[:start] + whole[end:])
    assert is_broken(file)
    file.write_bytes(whole[:33] + whole[end:])  # only the header
    assert is_broken(file)


def test_no_image_at_all(tmp_path: Path) -> None:
    file = tmp_path / 'image.jpg'
    file.write_text('<html>404</html>')
    assert is_broken(file)
    assert is_broken(tmp_path / 'missing.jpg')


@given(st.integers(0, 500), st.integers(1, 60))
def test_spread(total: int, number: int) -> None:
    chosen = evenly_spaced(range(total), number)
    assert len(chosen) == min(total, number)
    assert len({b - a for a, b in pairwise(chosen)}) <= 1


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
def test_an_image_that_would_fill_the_memory_is_not_decoded(
    tmp_path: Path, name: str
) -> None:
    file = write_bomb(tmp_path / name, 60_000)
    assert str(too_large(file)).startswith('Image size (3600000000 pixels) exceeds')
    assert is_broken(file)
    assert too_large(write_bomb(tmp_path / 'b.png', 8000)) is None


@pytest.mark.parametrize(
    ('pixels', 'options', 'broken'),
    [
        (np.zeros((8, 8, 3), np.uint8), {}, False),
        (np.zeros((8, 8), np.uint16), {}, False),
        (np.zeros((8, 8), np.float32), {}, True),
        (np.zeros((8, 8, 3), np.uint8), {'compression': 'zstd'}, True),
    ],
)
def test_what_only_other_programs_read(
    tmp_path: Path, pixels: np.ndarray, options: dict, broken: bool
) -> None:
    """Images are loaded with OpenCV: a TIFF of floats would end the training."""
    file = tmp_path / 'a.tif'
    Image.fromarray(pixels).save(file, **options)
    decoded = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    assert (decoded is None) is broken
    assert is_broken(file) is broken
