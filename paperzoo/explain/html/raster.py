"""The figures of a page as plain pixels, for visualizers that take nothing else."""

import cv2
import numpy as np
from numpy.typing import NDArray

from paperzoo.explain.html.report import (
    Figure,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
)
from paperzoo.explain.html.views import Pixels, coloured, limits

# Longest side of one picture.
SIDE = 480
_GAP = 8
_MARKED = (255, 47, 208)


def pixels_of(section: Section) -> Pixels | None:
    """Return the pictures of a section below each other, or None if it has none.

    All frames of a slider are shown; tables and bars are left out.

    Example:
        >>> picture = Picture(np.zeros((40, 60, 3), np.uint8))
        >>> pixels_of(Section('Black', '', [picture])).shape
        (328, 480, 3)
    """
    parts = [part for figure in section.figures if (part := _draw(figure)) is not None]
    return _stack(parts, down=True) if parts else None


def _draw(figure: Figure) -> Pixels | None:
    match figure:
        case Picture():
            return _picture(figure)
        case HeatMap():
            low, high = limits(figure.values, figure.low, figure.high)
            return _heat(figure.values, low, high, figure.over)
        case Matrix():
            return _matrix(figure)
        case Row(figures=several) | Slider(frames=several):
            parts = [part for one in several if (part := _draw(one)) is not None]
            return _stack(parts, down=isinstance(figure, Slider)) if parts else None
    return None


def _picture(figure: Picture) -> Pixels:
    image, scale = _enlarged(figure.image)
    for mark in figure.marks:
        _draw_mark(image, mark, scale)
    return image


def _draw_mark(image: Pixels, mark: Mark, scale: float) -> None:
    xy = [round(value * scale) for value in mark.xy]
    colour = tuple(bytes.fromhex(mark.color[1:]))
    if mark.kind == 'point':
        cv2.circle(image, (xy[0], xy[1]), 3, colour, -1, cv2.LINE_AA)
    elif mark.kind == 'box':
        cv2.rectangle(image, (xy[0], xy[1]), (xy[2], xy[3]), colour, 2)
    else:
        cv2.line(image, (xy[0], xy[1]), (xy[2], xy[3]), colour, 2, cv2.LINE_AA)
    if mark.label:
        at = (xy[0], max(14, xy[1] - 4))
        for shade, width in (((0, 0, 0), 3), (colour, 1)):
            cv2.putText(
                image, mark.label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, shade, width
            )


def _heat(values: NDArray, low: float, high: float, over: NDArray | None) -> Pixels:
    shown, _ = _enlarged(coloured(values, low, high), cv2.INTER_NEAREST)
    share = 1.0
    ground: NDArray = np.full_like(shown[..., :3], 255)
    if over is not None:
        ground, _ = _enlarged(over)
        size = (ground.shape[1], ground.shape[0])
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST)
        share = 0.7
    opacity = shown[..., 3:] / 255 * share
    return (opacity * shown[..., :3] + (1 - opacity) * ground).astype(np.uint8)


def _matrix(figure: Matrix) -> Pixels:
    low, high = limits(figure.values)
    cell = max(3, SIDE // max(*figure.values.shape, 1))
    colours = coloured(figure.values, low, high)[..., :3]
    image = np.ascontiguousarray(colours.repeat(cell, axis=0).repeat(cell, axis=1))
    for row, column in figure.marked:
        start = (column * cell, row * cell)
        end = (start[0] + cell - 1, start[1] + cell - 1)
        cv2.rectangle(image, start, end, _MARKED, max(1, cell // 12))
    return image


def _enlarged(
    image: Pixels, interpolation: int = cv2.INTER_LINEAR
) -> tuple[Pixels, float]:
    """Return a copy whose longest side is `SIDE`, and how much larger it is."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=interpolation), scale


def _stack(parts: list[Pixels], *, down: bool) -> Pixels:
    """Return pictures on white, below each other or side by side."""
    across = 1 if down else 0
    longest = max(part.shape[across] for part in parts)
    filled = []
    for part in parts:
        fill = [(0, _GAP), (0, _GAP), (0, 0)]
        fill[across] = (0, longest - part.shape[across])
        filled.append(np.pad(part, fill, constant_values=255))
    return np.concatenate(filled, axis=1 - across)
