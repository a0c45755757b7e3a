"""The page: one file, no network, no name that becomes HTML."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.explain.html import views
from paperzoo.explain.html.render import render, write_report
from paperzoo.explain.html.report import (
    Bars,
    Figure,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)

BAD = '<script>alert("1")</script>\'"></svg><img src=x onerror=alert(1)>&amp;{{ 7*7 }}'
IMAGE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


def every_figure(text: str) -> list[Figure]:
    """Return one figure of each kind with a text wherever there can be one."""
    values = np.array([[0.5, np.nan], [-2.0, 1e6]])
    marks = [
        Mark('point', (3, 4), '#ff0000', text, text),
        Mark('box', (1, 2, 9, 8), '#00ff00', text, text),
        Mark('line', (0, 0, 9, 9), '#0000ff', text, text),
    ]
    picture = Picture(IMAGE, text, marks)
    return [
        picture,
        HeatMap(values, text),
        HeatMap(values, text, IMAGE, -1.0, 1.0),
        Matrix(values, [text, text], [text, text], text, [(0, 1)]),
        Bars(np.array([1.0, -2.0]), [text, text], text),
        Table([text, text], [[text, 1.5], [text, text]], text),
        Slider(text, [text, text], [picture, picture]),
        Row([picture, HeatMap(values, text)]),
    ]


def page(text: str) -> str:
    return render(text, [Section(text, text, every_figure(text), 'x^2', text)])


class Reader(HTMLParser):
    """The tags of a page, their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.data: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def test_names_cannot_become_html() -> None:
    bad, harmless = Reader(page(BAD)), Reader(page('harmless'))
    assert bad.tags == harmless.tags
    assert [key for key, _ in bad.attributes] == [key for key, _ in harmless.attributes]
    # They are not lost either: each is there, as text or in an attribute.
    said = sum(text.count(BAD) for text in bad.data)
    assert said == sum(text.count('harmless') for text in harmless.data) > 20
    held = sum((value or '').count(BAD) for _, value in bad.attributes)
    assert held == sum((v or '').count('harmless') for _, v in harmless.attributes) > 10


@given(st.text(alphabet=st.sampled_from('<>"\'&/={}%a -`\\\n\u2028'), max_size=30))
def test_no_text_changes_the_structure(text: str) -> None:
    # A caption that is empty is left out: a letter before it keeps the page's form.
    section = lambda said: Section(
        said, said, [Table([said], [[said]], said)], '', said
    )
    shown = Reader(render(said := f'a{text}', [section(said)]))
    assert shown.tags == Reader(render('a', [section('a')])).tags


def test_nothing_is_loaded_from_anywhere() -> None:
    html = page('x')
    links = [
        value
        for key, value in Reader(html).attributes
        if key in ('href', 'src', 'srcset', 'action', 'data')
    ]
    assert links
    assert all(link and link.startswith(('#', 'data:image/')) for link in links)
    assert not re.search(r'url\(|@import|fetch\(|XMLHttpRequest|innerHTML', html)


def test_the_policy_allows_this_script_only() -> None:
    html = page(BAD)
    script = html[html.index('<script>') + 8 : html.rindex('</script>')]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def test_equal_images_are_stored_once() -> None:
    assert len(re.findall('<symbol ', page('x'))) == 3  # the image, and two maps
    assert page('x').count('data:image/') == 3


def test_images_come_back_as_they_were() -> None:
    uri = views._data_uri(IMAGE, lossless=True)
    kind, _, text = uri.partition(';base64,')
    assert kind == 'data:image/png'
    raw = np.frombuffer(base64.b64decode(text), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1], IMAGE)


def test_large_images_are_made_smaller_and_the_marks_keep_their_place() -> None:
    large = np.zeros((500, 2000, 3), np.uint8)
    large[:, 1000:] = 255
    drawn = views.Views()
    shown = drawn.of(Picture(large, '', [Mark('point', (1000, 250), '#ff0000')]))
    assert shown['size'] == (2000, 500)
    (image,) = drawn.images.values()
    raw = np.frombuffer(base64.b64decode(image['uri'].partition(',')[2]), np.uint8)
    assert cv2.imdecode(raw, cv2.IMREAD_COLOR).shape == (240, 960, 3)


@given(
    st.lists(
        st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(float('nan')),
        min_size=1,
        max_size=20,
    )
)
def test_the_numbers_under_the_pointer(numbers: list[float]) -> None:
    values = np.array([numbers])
    codes, start, end = views._packed(values)
    again = start + codes / 65534 * (end - start)
    again[codes == 65535] = np.nan
    # Half a step of 65534, and the rounding of the sums.
    np.testing.assert_allclose(
        again, values, rtol=0, atol=(end - start) / 131000 + 1e-9
    )


def test_large_maps_keep_every_nth_number() -> None:
    values = np.arange(300.0 * 400).reshape(300, 400)
    codes, start, end = views._packed(values)
    step = round(300 / len(codes))
    assert codes.size <= views._NUMBERS
    again = start + codes / 65534 * (end - start)
    np.testing.assert_allclose(again, values[::step, ::step], atol=1.0)


def test_colours_run_from_low_to_high_and_leave_out_what_is_no_number() -> None:
    shown = views.coloured(np.array([[-5.0, 0.0, 1.0, 5.0, np.nan]]), 0.0, 1.0)
    np.testing.assert_array_equal(shown[0, 0], shown[0, 1])  # below is cut off
    np.testing.assert_array_equal(shown[0, 2], shown[0, 3])
    assert shown[0, :, 3].tolist() == [255, 255, 255, 255, 0]
    assert shown[0, 2].sum() > shown[0, 1].sum()


@pytest.mark.parametrize(
    ('value', 'text'),
    [(3.0, '3'), (0.123456, '0.1235'), (1e9, '1e+09'), (-2.5, '-2.5'), (np.nan, 'nan')],
)
def test_numbers_as_a_reader_wants_them(value: float, text: str) -> None:
    assert views.number(value) == text


def test_bars_begin_at_zero() -> None:
    shown = views.Views().of(Bars(np.array([1.0, -3.0, 0.0]), ['a', 'b', 'c']))['bars']
    assert [(bar['left'], bar['width']) for bar in shown] == [
        (75, 25),
        (0, 75),
        (75, 0),
    ]


def test_a_matrix_frames_its_marked_cells() -> None:
    shown = views.Views().of(Matrix(np.eye(2), ['a', 'b'], ['c', 'd'], marked=[(1, 0)]))
    marked = [[cell['marked'] for cell in row['cells']] for row in shown['rows']]
    assert marked == [[False, False], [True, False]]


def test_labels_that_do_not_fit_the_frames_are_refused() -> None:
    frame = Picture(IMAGE)
    with pytest.raises(ValueError, match='longer'):
        render('t', [Section('', '', [Slider('s', ['one'], [frame, frame])])])


def test_the_file_is_written_into_a_new_folder(tmp_path: Path) -> None:
    file = write_report('t', [], tmp_path / 'new' / 'report.html')
    assert file.read_text(encoding='utf-8').startswith('<!DOCTYPE html>')
