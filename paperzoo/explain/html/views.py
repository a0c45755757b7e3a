"""What the page's template needs of each figure: texts, pixels and packed numbers."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from paperzoo.explain.html.report import (
    Bars,
    Figure,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Slider,
    Table,
)

# (H, W, 3) or (H, W, 4), 0 to 255; OpenCV's types say less.
Pixels = NDArray[Any]
# Longest side of an image in the file, and most numbers under the pointer.
_SIDE = 960
_NUMBERS = 128 * 128
# Below this many cells a matrix shows its numbers without pointing.
_WRITTEN = 300
# Up to this longest side single pixels are what one wants to see.
_PIXELATED = 128


def number(value: float | int | np.floating | np.integer) -> str:
    """Return a number as a reader wants it: four digits, whole ones in full.

    Example:
        >>> number(1234567.0), number(0.123456)
        ('1234567', '0.1235')
    """
    if float(value).is_integer() and abs(float(value)) < 1e7:
        return f'{value:.0f}'
    return f'{value:.4g}'


class Views:
    """What the template shows of each figure; equal images are stored once."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self._count = 0

    def of(self, figure: Figure) -> dict[str, Any]:
        """Return what the template needs: the figure's fields, drawn where needed."""
        shown = {'kind': type(figure).__name__.lower(), **vars(figure)}
        match figure:
            case Picture(image, _, marks):
                height, width = image.shape[:2]
                radius = _radius(marks, max(height, width))
                size = (width, height)
                drawn = [_mark(mark, radius, size) for mark in marks]
                shown |= {'size': size, 'image': self._image(image), 'marks': drawn}
                shown['letters'] = max(size) / 34
            case HeatMap():
                shown |= self._heat(figure)
            case Matrix():
                shown |= _cells(figure)
            case Bars(values, labels):
                shown['bars'] = _bars(values, labels)
            case Table():
                shown['rows'] = [
                    [
                        (c, False) if isinstance(c, str) else (number(c), True)
                        for c in row
                    ]
                    for row in figure.rows
                ]
            case Slider(_, labels, frames):
                self._count += 1
                shown['id'] = f'slider{self._count}'
                shown['frames'] = list(zip(labels, map(self.of, frames), strict=True))
            case Row(figures):
                shown['figures'] = [self.of(one) for one in figures]
            case _:
                raise TypeError(f'no figure of a report: {figure!r}')
        return shown

    def _heat(self, figure: HeatMap) -> dict[str, Any]:
        low, high = limits(figure.values, figure.low, figure.high)
        ground = figure.values if figure.over is None else figure.over
        codes, start, end = _packed(figure.values)
        return {
            'size': (ground.shape[1], ground.shape[0]),
            'under': None if figure.over is None else self._image(figure.over),
            'image': self._image(coloured(figure.values, low, high), smooth=False),
            'cells': codes.shape,
            'values': base64.b64encode(codes.tobytes()).decode(),
            'span': (start, end),
            'low': number(low),
            'high': number(high),
        }

    def _image(self, pixels: Pixels, *, smooth: bool = True) -> str:
        """Store an image; return its id."""
        height, width = pixels.shape[:2]
        shrink = _SIDE / max(height, width)
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        # Named before it is encoded: most pictures of a page lie on one image.
        key = f'{pixels.shape} {smooth}'.encode() + pixels.tobytes()
        name = 'i' + hashlib.sha256(key).hexdigest()[:16]
        if name not in self.images:
            self.images[name] = {
                'uri': _data_uri(pixels, lossless=not smooth),
                'pixelated': not smooth or max(height, width) <= _PIXELATED,
            }
        return name


def _data_uri(pixels: Pixels, *, lossless: bool) -> str:
    """Return an image as a text; flat drawings are smaller as PNG, photos as WebP."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    swapped = cv2.cvtColor(np.ascontiguousarray(pixels, np.uint8), order)
    found = {'png': cv2.imencode('.png', swapped)[1].tobytes()}
    if not lossless:
        quality = [cv2.IMWRITE_WEBP_QUALITY, 88]
        found['webp'] = cv2.imencode('.webp', swapped, quality)[1].tobytes()
    kind = min(found, key=lambda one: len(found[one]))
    return f'data:image/{kind};base64,{base64.b64encode(found[kind]).decode()}'


def limits(
    values: NDArray, low: float | None = None, high: float | None = None
) -> tuple[float, float]:
    """Return what the first and the last colour stand for: by default the extremes.

    Example:
        >>> limits(np.array([1.0, np.nan, 3.0])), limits(np.array([1.0, 3.0]), low=0.0)
        ((1.0, 3.0), (0.0, 3.0))
    """
    finite = values[np.isfinite(values)]
    smallest = float(finite.min()) if finite.size else 0.0
    largest = float(finite.max()) if finite.size else 1.0
    return smallest if low is None else low, largest if high is None else high


def coloured(values: NDArray, low: float, high: float) -> Pixels:
    """Return the colours of numbers, RGBA; what is no number is transparent.

    Example:
        >>> coloured(np.array([0.0, 1.0, np.nan]), 0.0, 1.0)[:, 3]
        array([255, 255,   0], dtype=uint8)
    """
    share = (np.asarray(values, float) - low) / ((high - low) or 1.0)
    steps = (np.nan_to_num(share).clip(0, 1) * 255).round().astype(np.uint8)
    colours = _viridis()[steps]
    alpha = np.where(np.isfinite(values), 255, 0).astype(np.uint8)
    return np.concatenate([colours, alpha[..., None]], axis=-1)


def _viridis() -> Pixels:
    steps = np.arange(256, dtype=np.uint8)[:, None]
    return cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def gradient() -> str:
    """Return the colours of the maps as stops of a CSS gradient.

    Example:
        >>> gradient().split(', ')[0]
        '#440154'
    """
    stops = _viridis()[::51].tolist()
    return ', '.join(f'#{bytes(stop).hex()}' for stop in stops)


def _packed(values: NDArray) -> tuple[NDArray, float, float]:
    """Return numbers as 16 bits from `start` to `end`; the last code is "no number"."""
    step = int(np.ceil(np.sqrt(max(values.size / _NUMBERS, 1))))
    values = np.asarray(values, float)[::step, ::step]
    start, end = limits(values)
    share = np.nan_to_num((values - start) / ((end - start) or 1.0)).clip(0, 1)
    codes = np.where(np.isfinite(values), (share * 65534).round(), 65535)
    return codes.astype('<u2'), start, end


def _cells(figure: Matrix) -> dict[str, Any]:
    low, high = limits(figure.values)
    colours = coloured(figure.values, low, high)[..., :3]
    marked = {tuple(cell) for cell in figure.marked}
    rows = []
    lines = zip(figure.rows, figure.values, colours, strict=True)
    for r, (name, line, shown) in enumerate(lines):
        cells = [
            {
                'text': number(value),
                'colour': '#' + bytes(colour.tolist()).hex(),
                'dark': bool(colour @ [0.3, 0.6, 0.1] < 140),
                'marked': (r, c) in marked,
            }
            for c, (value, colour) in enumerate(zip(line, shown, strict=True))
        ]
        rows.append({'name': name, 'cells': cells})
    written = figure.values.size <= _WRITTEN
    return {'rows': rows, 'written': written, 'low': number(low), 'high': number(high)}


def _bars(values: NDArray, labels: Sequence[str]) -> list[dict[str, Any]]:
    finite = np.nan_to_num(np.asarray(values, float))
    low, high = min(0.0, finite.min(initial=0)), max(0.0, finite.max(initial=0))
    scale = 100 / ((high - low) or 1.0)
    return [
        {
            'label': label,
            'text': number(value),
            'left': (min(value, 0.0) - low) * scale,
            'width': abs(value) * scale,
        }
        for label, value in zip(labels, finite.tolist(), strict=True)
    ]


def _radius(marks: Sequence[Mark], side: int) -> float:
    """Return a radius at which points are seen and those of a grid do not touch."""
    points = [mark.xy for mark in marks if mark.kind == 'point']
    gaps = np.diff(np.unique(np.array([xy[0] for xy in points], float)))
    nearest = gaps[gaps > 0.5].min(initial=np.inf)
    return float(np.clip(0.4 * nearest, side / 250, side / 100))


def _mark(mark: Mark, radius: float, size: tuple[int, int]) -> dict[str, Any]:
    """Return a mark and where its label goes, which the edges must not cut off."""
    x, y = mark.xy[0], mark.xy[1]
    left = x > 0.75 * size[0]
    if left and mark.kind == 'box':
        x = mark.xy[2]
    below = size[1] / 18 if y < size[1] / 15 else 0.0
    return {'mark': mark, 'radius': radius, 'at': (x, y + below), 'left': left}
