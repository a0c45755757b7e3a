"""Images from addresses and other programs; nothing too large, nothing for ever."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from paperzoo.apis import images
from paperzoo.apis.images import ImageError, fetch, pixels_of

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
PNG = cv2.imencode('.png', PIXELS)[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == '/slow':
            time.sleep(1.5)
        if self.path == '/none':
            self.send_error(404)
            return
        content = b'no image' if self.path == '/text' else PNG
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(content)
            if self.path == '/endless':
                while True:
                    self.wfile.write(b'0' * 65536)
        except OSError:
            pass  # the other side has seen enough

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope='module')
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{running.server_port}'
    running.shutdown()


def test_an_address(server: str) -> None:
    assert (pixels_of(f'{server}/a.png') == PIXELS).all()


@pytest.mark.parametrize(
    ('path', 'said'),
    [('/none', 'no answer: .*404'), ('/text', 'it is no image')],
)
def test_an_address_without_an_image(path: str, said: str, server: str) -> None:
    with pytest.raises(ImageError, match=said):
        pixels_of(server + path)


def test_a_limit_and_a_timeout(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, 'MOST_BYTES', 2**20)
    monkeypatch.setattr(images, 'PATIENCE', 0.5)
    with pytest.raises(ImageError, match='more than 1 MB'):
        fetch(f'{server}/endless')
    with pytest.raises(ImageError, match=r'no answer: .*timed out'):
        fetch(f'{server}/slow')


def test_a_picture_of_pil() -> None:
    rgb = Image.fromarray(PIXELS[..., ::-1])
    assert (pixels_of(rgb) == PIXELS).all()
    grey = pixels_of(rgb.convert('L'))
    assert grey.shape == PIXELS.shape
    assert (grey[..., 0] == grey[..., 2]).all()
    assert pixels_of(rgb.convert('RGBA')).shape == PIXELS.shape


def test_a_picture_of_pil_is_put_upright() -> None:
    turned = Image.fromarray(PIXELS[..., ::-1])
    turned.getexif()[274] = 6
    assert (pixels_of(turned) == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_a_picture_of_pil_of_16_bits_is_as_its_file(
    suffix: str, tmp_path: Path
) -> None:
    """Pillow would cut off all above 255."""
    file = tmp_path / f'a{suffix}'
    pixels = np.arange(0, 65536, 4096).astype(np.uint16).reshape(4, 4)
    Image.fromarray(pixels).save(file)
    with Image.open(file) as opened:
        assert opened.mode.startswith('I;16')
        found = pixels_of(opened)
    np.testing.assert_array_equal(found, pixels_of(file))
    assert found.mean() == 120


@pytest.mark.parametrize('kind', [np.int32, np.float32])
def test_a_picture_of_pil_of_any_numbers(kind: type) -> None:
    with pytest.raises(ImageError, match='COLOR_GRAY2BGR'):
        pixels_of(Image.fromarray(np.zeros((4, 4), kind)))


def test_an_array_may_be_used_again() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    kept = pixels_of(frame)
    frame[:] = 255
    assert kept.max() == 0
