"""A real browser opens the page: it fits, sliders move, arrows find the numbers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperzoo.explain.html.render import write_report
from paperzoo.explain.html.report import (
    Bars,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)

BAD = '<script>window.injected = 1</script><img src=x onerror="window.injected = 1">'


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.full((60, 200, 3), 90, np.uint8)
    marks = [
        Mark('box', (10, 10, 90, 50), '#ff0000', f'first {BAD}', 'long label ' * 9),
        Mark('point', (150, 30), '#00ff00', 'second'),
    ]
    frames = [
        Picture(image, f'frame {number} {BAD}', marks if number == 0 else ())
        for number in range(3)
    ]
    wide = np.arange(160.0).reshape(2, 80)
    heat = HeatMap(np.array([[0.0, 0.25], [np.nan, 1.0]]), 'map', image)
    figures = [
        Slider('stage', ['one', BAD, 'three'], frames),
        Row([heat, heat, Bars(np.array([1.0, -2.0]), ['a' * 90, 'b'])]),
        Matrix(wide, ['r', 's'], [f'column{n}' for n in range(80)], marked=[(1, 2)]),
        Table([f'head {n}' for n in range(30)], [['cell' * 5] * 30]),
    ]
    text = f'{BAD} {"unbroken" * 40}'
    equation = r'L = \sum_{x, y} \frac{1}{N_{pos}} L_{cls}(p_{x,y}, c^*_{x,y})' * 4
    section = Section(text, text, figures, equation, 'fcos Eq. 2')
    folder = tmp_path_factory.mktemp('page')
    return write_report(BAD, [section], folder / 'report.html')


@pytest.fixture
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width = getattr(request, 'param', 1440)
    shown = browser.new_page(viewport={'width': width, 'height': 900})
    said: list[str] = []
    asked: list[str] = []
    shown.on('console', lambda message: said.append(message.text))
    shown.on('pageerror', lambda error: said.append(str(error)))
    shown.on('request', lambda request: asked.append(request.url))
    shown.goto(file.as_uri())
    yield shown
    assert said == []
    assert [url for url in asked if not url.startswith('data:')] == [file.as_uri()]
    assert shown.evaluate('window.injected') is None
    shown.close()


@pytest.mark.parametrize('page', [390, 1440], indirect=True)
def test_nothing_overflows(page: Any) -> None:
    width = page.viewport_size['width']
    assert page.evaluate('document.documentElement.scrollWidth') == width
    # What is wider lies in something that scrolls by itself.
    outside = page.evaluate(
        """width => [...document.querySelectorAll('body *:not(defs *)')]
        .filter(e => !e.closest('.scroll, aside, .images, svg'))
        .filter(e => e.getBoundingClientRect().right > width + 1)
        .map(e => e.outerHTML.slice(0, 80))""",
        width,
    )
    assert outside == []
    pictures = page.locator('figure > svg:visible')
    assert pictures.count() == 3
    for number in range(3):
        assert pictures.nth(number).bounding_box()['height'] > 50


def test_a_slider_shows_one_frame_at_a_time(page: Any) -> None:
    slider, output = page.locator('input[type=range]'), page.locator('.slider output')
    captions = page.locator('.slider figcaption:visible')
    assert captions.all_inner_texts() == [f'frame 0 {BAD}']
    slider.focus()
    for number, label in ((1, BAD), (2, 'three')):
        page.keyboard.press('ArrowRight')
        assert captions.all_inner_texts() == [f'frame {number} {BAD}']
        assert output.inner_text() == label
    page.keyboard.press('Home')
    assert captions.all_inner_texts() == [f'frame 0 {BAD}']


def test_the_pointer_finds_numbers(page: Any) -> None:
    tip = page.locator('#tip')
    heat = page.locator('.heat > svg').first
    box = heat.bounding_box()
    for across, down, text in ((0.75, 0.25, '0.25'), (0.25, 0.75, 'no value')):
        heat.hover(position={'x': across * box['width'], 'y': down * box['height']})
        assert tip.inner_text().startswith(text)
    page.locator('td.marked').hover()
    assert tip.inner_text() == 's, column2: 82'
    page.locator('h1').hover()
    assert not tip.is_visible()


def test_the_arrows_find_marks_and_numbers(page: Any) -> None:
    tip = page.locator('#tip')
    page.locator('.picture > svg').first.focus()
    page.keyboard.press('ArrowRight')
    assert tip.inner_text() == f'first {BAD}'
    page.keyboard.press('ArrowRight')
    assert tip.inner_text() == 'second'
    page.locator('.heat > svg').first.focus()
    page.keyboard.press('ArrowRight')
    assert re.match(r'1\s+row 1, column 1', tip.inner_text())
    page.keyboard.press('ArrowUp')
    assert re.match(r'0\.25\s+row 0, column 1', tip.inner_text())
    page.keyboard.press('Escape')
    assert not tip.is_visible()


def test_images_are_drawn(page: Any) -> None:
    """A page whose images fail to load is silent; the pixels are not."""
    import cv2

    shot = np.frombuffer(page.locator('.picture > svg').first.screenshot(), np.uint8)
    pixels = cv2.imdecode(shot, cv2.IMREAD_COLOR)
    middle = pixels[pixels.shape[0] // 4, int(pixels.shape[1] * 0.97)]
    np.testing.assert_allclose(middle, 90, atol=3)
