"""The page in a real browser: an image, a threshold, the records, the inside."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bombs import write_bomb
from served_pages import Served

import paperzoo

SOON = 60_000  # milliseconds, where several tests share a machine
SHORTLY = 2_000


class Visit:
    """A visitor's page.

    Args:
        page: Of the browser.
        url: Of the server.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(SOON)
        page.on('console', self._listen)
        page.on('pageerror', lambda error: self.said.append(str(error)))
        page.on('request', lambda request: self.asked.append(request.url))
        page.goto(url)

    def _listen(self, message: Any) -> None:
        # The end of a small upload may come before the question how far it is.
        if message.type == 'error' and 'upload_progress' not in message.location['url']:
            self.said.append(message.text)

    def upload(self, file: Path) -> None:
        self.page.set_input_files('#upload input[type=file]', file)

    def threshold(self, value: str) -> None:
        number = self.page.locator('#score input[type=number]')
        number.fill(value)
        number.press('Enter')

    def wait_for(self, text: str | re.Pattern[str]) -> None:
        self.page.locator('#said').get_by_text(text).wait_for()


@pytest.fixture(params=[390, 1440])
def visit(request: Any, browser: Any, served: Served) -> Iterator[Visit]:
    """A visit with a narrow and with a wide screen; it asks nobody but the server."""
    page = browser.new_page(viewport={'width': request.param, 'height': 900})
    own = Visit(page, served.url)
    yield own
    wide = page.evaluate('document.documentElement.scrollWidth')
    page.close()
    assert wide == request.param
    assert own.said == []
    assert [
        url
        for url in own.asked
        if not url.startswith((f'{served.url}/', 'data:', 'blob:'))
    ] == []


def test_a_visit(visit: Visit, served: Served, tmp_path: Path) -> None:
    page = visit.page
    visit.upload(served.image)
    visit.wait_for('(320 x 240 pixels)')
    some = page.inner_text('#said')
    visit.threshold('1')
    visit.wait_for('nothing that scores 1.00 or more (320 x 240 pixels)')
    page.locator('#table').wait_for(state='hidden')
    visit.threshold('0')
    visit.wait_for(re.compile(r'^\d.* \(320 x 240 pixels\)'))
    assert page.inner_text('#said') != some
    page.locator('#table').get_by_text('height').first.wait_for()
    page.wait_for_function("document.querySelector('#picture img').naturalWidth == 320")
    file = _downloaded(page, '#records')
    assert file.suggested_filename == '000004.json'
    file.save_as(tmp_path / 'records.json')
    written = json.loads((tmp_path / 'records.json').read_text())
    expected = paperzoo.load(served.model, device='cpu')(served.image, score=0.0)
    assert len(written['annotations']) == len(expected) > 0
    _look_inside(visit, served)


def _look_inside(visit: Visit, served: Served) -> None:
    page = visit.page
    page.get_by_role('tab', name='Look inside').click()
    page.click('#explain')
    frame = page.frame_locator('#inside iframe')
    frame.get_by_role('heading', name='FCOS on 000004.jpg').wait_for()
    # Apart from the page around it, and its own links lead within it.
    assert page.locator('#inside iframe').get_attribute('sandbox') == 'allow-scripts'
    frame.locator('a[href^="#"]').nth(1).click()
    inner = page.frames[-1]
    assert inner.url.startswith('about:srcdoc')
    assert inner.evaluate('window.origin') == 'null'
    assert inner.evaluate('document.querySelector("use").getBBox().width') > 0
    file = _downloaded(page, '#explained')
    assert file.suggested_filename == '000004_explained.html'


def _downloaded(page: Any, button: str) -> Any:
    """Return what a button gives; Gradio shows it a moment before it has its file."""
    from playwright.sync_api import TimeoutError as NotYet

    for _ in range(SOON // SHORTLY):
        with suppress(NotYet):
            with page.expect_download(timeout=SHORTLY) as waiting:
                page.click(button)
            return waiting.value
    pytest.fail(f'{button} gives nothing')


def test_what_is_no_image_is_said_on_the_page(
    visit: Visit, served: Served, tmp_path: Path
) -> None:
    page = visit.page
    text = tmp_path / 'a<b>.jpg'
    text.write_text('<script>document.title = "gone"</script>')
    visit.upload(text)
    visit.wait_for('.jpg: it is no JPEG, PNG, BMP, TIFF or WEBP image')
    page.get_by_label('Remove Image').click()
    visit.wait_for('Upload an image')
    visit.upload(write_bomb(tmp_path / 'bomb.png', 30_000))
    visit.wait_for('up to 25 million pixels')
    page.get_by_label('Remove Image').click()
    visit.wait_for('Upload an image')
    (tmp_path / 'large.jpg').write_bytes(bytes(2**21))
    visit.upload(tmp_path / 'large.jpg')
    page.get_by_text('exceed the maximum').first.wait_for()
    assert 'Traceback' not in page.inner_text('body')
    assert page.title() == 'w · paperzoo'
