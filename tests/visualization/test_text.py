"""Text in any script: what is drawn are letters, not boxes or question marks."""

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from paperzoo.apis.analysis import draw_matrix
from paperzoo.visualization import text as text_module
from paperzoo.visualization.overlays import draw, titled
from paperzoo.visualization.text import plot_fonts, put_text, text_size, wide_font


def written(text: str) -> NDArray[np.uint8]:
    """Return the pixels of a text, cut to what is drawn."""
    (width, above), below = text_size(text, 0.8)
    picture = np.zeros((above + below + 20, width + 20, 3), np.uint8)
    put_text(picture, text, (10, above + 10), 0.8, (255, 255, 255))
    rows, columns = np.nonzero(picture[..., 0] > 127)
    assert rows.min() >= 8, 'a letter is higher than its size says'
    assert columns.max() < width + 12, 'a letter is wider than its size says'
    return picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]


def test_the_package_of_fonts_is_found() -> None:
    font = wide_font()
    assert font is not None
    assert 'manimgx_fonts_cjk' in str(font)


@pytest.mark.parametrize(('one', 'other'), [('红', '细'), ('あ', 'め'), ('한', '글')])
def test_letters_differ(one: str, other: str) -> None:
    first, second = written(one), written(other)
    # Boxes and question marks would be the same for both.
    assert first.shape != second.shape or (first != second).any()
    for pixels in (first, second):
        # The inside of a box is empty.
        assert (pixels[3:-3, 3:-3] > 127).mean() > 0.08
        assert (pixels > 127).mean() < 0.8


def test_a_chinese_character_looks_like_itself() -> None:
    # 口 is a box, 日 the same with a bar across the middle, 王 three bars.
    def bars(text: str) -> int:
        pixels = written(text) > 127
        column = pixels[:, pixels.shape[1] // 3]
        return int((np.diff(column.astype(int)) == 1).sum() + column[0])

    assert [bars(one) for one in '口日目王'] == [2, 3, 4, 3]


def test_latin_letters_are_as_ever() -> None:
    expected = np.zeros((30, 60, 3), np.uint8)
    cv2.putText(
        expected,
        'cat',
        (5, 20),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        (0, 0, 9),
        1,
        cv2.LINE_AA,
    )
    picture = np.zeros_like(expected)
    put_text(picture, 'cat', (5, 20), 0.4, (0, 0, 9))
    assert (picture == expected).all()


def test_without_a_font_there_is_still_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_module, 'wide_font', lambda: None)
    picture = np.zeros((30, 60, 3), np.uint8)
    put_text(picture, '红', (5, 20), 0.4, (255, 255, 255))
    assert picture.any()


def test_overlays_and_titles() -> None:
    image = np.full((60, 120, 3), 90, np.uint8)
    box = {'category_id': 0, 'bbox': [5, 20, 80, 30], 'score': 0.5}
    one, other = (draw(image, [{**box, 'category': name}]) for name in ('红', '细'))
    assert (one != other).any()
    assert (titled(image, '红', 120) != titled(image, '细', 120)).any()


def test_overlays_have_the_colours_of_the_data_set() -> None:
    box = {'category_id': 1, 'category': 'a', 'bbox': [5, 20, 80, 30]}
    image = np.zeros((60, 120, 3), np.uint8)
    own = draw(image, [box], palette=[(1, 2, 3), (10, 20, 30)])
    assert own[50, 40].tolist() == [30, 20, 10]
    # One more class than colours: no error.
    assert draw(image, [{**box, 'category_id': 2}], palette=[(1, 2, 3)])[50, 40].any()


def test_the_confusion_matrix(tmp_path: Path) -> None:
    family = list(mpl.rcParams['font.family'])
    pictures = []
    for names in (['红', '细'], ['细', '红']):
        file = draw_matrix(
            np.eye(3, dtype=int), [*names, 'nothing'], tmp_path / 'a.png'
        )
        pictures.append(cv2.imread(str(file)))
    assert (pictures[0] != pictures[1]).any()
    assert list(mpl.rcParams['font.family']) == family
    with plot_fonts('cat'):
        assert list(mpl.rcParams['font.family']) == family
