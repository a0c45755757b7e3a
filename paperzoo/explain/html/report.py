"""What a page of `paperzoo explain` consists of: plain arrays with names, no drawing.

A page describes its arrays with these and `paperzoo.explain.html.render` draws them,
so the next paper gets its page without a line of HTML. Every text here may come from a
user (a file, a class name); the renderer escapes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, Union

import numpy as np


@dataclass(frozen=True)
class Mark:
    """A point, box or line over a picture.

    Args:
        kind: What is drawn.
        xy: In the picture's pixels: `x, y` of a point; `x1, y1, x2, y2` of a box or a
            line.
        color: `#rrggbb`.
        text: Shown when one points at the mark.
        label: Always shown beside the mark; a few letters.
    """

    kind: Literal['point', 'box', 'line']
    xy: tuple[float, ...]
    color: str
    text: str = ''
    label: str = ''


@dataclass(frozen=True)
class Picture:
    """An image, `uint8 (H, W, 3)` RGB, with marks over it."""

    image: np.ndarray
    caption: str = ''
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class HeatMap:
    """A map of numbers `(H, W)` in colours, with the number under the pointer.

    Args:
        values: The numbers; NaN is drawn transparent.
        caption: Below it.
        over: The image `uint8 (H', W', 3)` on which it lies.
        low: The value of the first colour, the smallest one without it.
        high: The value of the last colour, the largest one without it.
    """

    values: np.ndarray
    caption: str = ''
    over: np.ndarray | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Matrix:
    """A table of numbers `(R, C)` in colours; `marked` cells (row, column) framed."""

    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    caption: str = ''
    marked: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Bars:
    """One bar per number of `values (N,)`."""

    values: np.ndarray
    labels: Sequence[str]
    caption: str = ''


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    caption: str = ''


@dataclass(frozen=True)
class Slider:
    """Frames of which one is shown at a time.

    Args:
        name: What the slider goes through: `level`, `stage`, `time`.
        labels: One per frame.
        frames: The figures.
    """

    name: str
    labels: Sequence[str]
    frames: Sequence['Figure']


@dataclass(frozen=True)
class Row:
    """Figures side by side, one below the other on a phone."""

    figures: Sequence['Figure']


Figure: TypeAlias = Union[Picture, HeatMap, Matrix, Bars, Table, Slider, Row]  # noqa: UP007


@dataclass(frozen=True)
class Section:
    """A question of the paper's reader, answered by figures.

    Args:
        title: The question.
        text: A sentence or two that answer it.
        figures: The pictures, from top to bottom.
        equation: LaTeX, shown beside the text.
        source: Where the equation stands: `fcos Eq. 3`.
    """

    title: str
    text: str
    figures: Sequence[Figure]
    equation: str = ''
    source: str = ''
