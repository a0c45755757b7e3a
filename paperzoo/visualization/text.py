"""Text in pictures and plots, in any script for which there is a font.

OpenCV has Latin letters only. Others are drawn with a font of the package that the
extra `fonts` brings, else with one of the system.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Packages of fonts with Chinese, Japanese and Korean, and the system's own names.
_PACKAGES = ('manimgx_fonts_cjk',)
_NAMES = ('cjk', 'wqy', 'sourcehan', 'unifont', 'msyh', 'pingfang', 'arial unicode')
_FOLDERS = (
    '/usr/share/fonts',
    '/usr/local/share/fonts',
    '~/.fonts',
    '~/.local/share/fonts',
    '/System/Library/Fonts',
    '/Library/Fonts',
    'C:/Windows/Fonts',
)
_ENDINGS = ('.ttf', '.otf', '.ttc')


@lru_cache(maxsize=1)
def wide_font() -> Path | None:
    """Return the file of a font with many scripts, or None if there is none.

    Example:
        >>> from paperzoo.visualization.text import wide_font
        >>> font = wide_font()
        >>> font is None or font.is_file()
        True
    """
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if found := _fonts(Path(folder)):
                return found[0]
    for folder in _FOLDERS:
        for file in _fonts(Path(folder).expanduser()):
            if any(name in file.name.lower().replace(' ', '') for name in _NAMES):
                return file
    return None


def _fonts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.rglob('*') if one.suffix.lower() in _ENDINGS)


@contextmanager
def plot_fonts(*texts: str) -> Iterator[None]:
    """Let matplotlib write texts in any script, for a while.

    Args:
        texts: What will be written; for Latin letters nothing changes.

    Example:
        >>> import matplotlib as mpl
        >>> from paperzoo.visualization.text import plot_fonts
        >>> before = list(mpl.rcParams['font.family'])
        >>> with plot_fonts('红细胞'):
        ...     pass
        >>> list(mpl.rcParams['font.family']) == before
        True
    """
    import matplotlib as mpl
    from matplotlib import font_manager

    file = None if ''.join(texts).isascii() else wide_font()
    if file is None:
        yield
        return
    font_manager.fontManager.addfont(str(file))
    name = font_manager.FontProperties(fname=str(file)).get_name()
    # It has one weight of a variable font, the thinnest, and says so for each text.
    log = logging.getLogger('matplotlib.font_manager')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with mpl.rc_context({'font.family': ['DejaVu Sans', name]}):
            yield
    finally:
        log.setLevel(level)


def text_size(text: str, scale: float) -> tuple[tuple[int, int], int]:
    """Return width and height above the base line, and what goes below it, in pixels.

    Args:
        text: One line.
        scale: As OpenCV counts it: 0.4 are letters of about 10 pixels.

    Example:
        >>> from paperzoo.visualization.text import text_size
        >>> text_size('cat', 0.4)
        ((17, 11), 1)
    """
    if font := _font_of(text, scale):
        width = round(font.getlength(text))
        above, below = font.getmetrics()
        return (width, above), below
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return (width, height), below


def put_text(
    picture: NDArray[Any],
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
) -> None:
    """Write a line into a picture.

    Args:
        picture: BGR, (H, W, 3); changes.
        text: The line.
        place: x and y of the beginning of its base line.
        scale: As of `text_size`.
        color: BGR.

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.text import put_text
        >>> picture = np.zeros((20, 40, 3), np.uint8)
        >>> put_text(picture, 'cat', (2, 15), 0.4, (255, 255, 255))
        >>> bool(picture.any())
        True
    """
    font = _font_of(text, scale)
    if font is None:
        cv2.putText(
            picture,
            text,
            place,
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            color,
            1,
            cv2.LINE_AA,
        )
        return
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(np.ascontiguousarray(picture))
    # The colours' order does not matter to it: both are BGR.
    ImageDraw.Draw(canvas).text(place, text, fill=color, font=font, anchor='ls')
    picture[...] = np.asarray(canvas)


def _font_of(text: str, scale: float) -> Any:
    """Return a font for what OpenCV cannot write, or None."""
    if text.isascii() or (file := wide_font()) is None:
        return None
    return _sized(file, max(8, round(30 * scale)))


@lru_cache(maxsize=8)
def _sized(file: Path, size: int) -> Any:
    from PIL import ImageFont

    font = ImageFont.truetype(str(file), size)
    # A variable font begins with its thinnest letters.
    with suppress(OSError):
        font.set_variation_by_axes([400])
    return font
