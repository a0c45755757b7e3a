"""Boxes, points and images as FCOS's page draws them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.explain.html.report import Mark
from paperzoo.explain.sample import Sample
from paperzoo.visualization.overlays import color_of

GREY = '#9aa0a8'
# A picture with more marks than this is slow, and no longer read.
MOST_POINTS = 3000


def colour(index: int) -> str:
    """Return the colour of an object, or of a class, light enough to be read.

    Example:
        >>> colour(0)
        '#ff5c5c'
    """
    blue, green, red = (value + (255 - value) // 4 for value in color_of(index))
    return f'#{red:02x}{green:02x}{blue:02x}'


def class_name(sample: Sample, label: int | Tensor) -> str:
    """Return the name of a class; a checkpoint may know fewer names than classes.

    Example:
        >>> import torch
        >>> image, inputs = np.zeros((4, 6, 3), np.uint8), torch.zeros(1, 3, 4, 6)
        >>> sample = Sample(image, inputs, None, ('cat', 'dog'), 'a.png')
        >>> class_name(sample, 1), class_name(sample, 2)
        ('dog', 'class 2')
    """
    label = int(label)
    names = sample.class_names
    return names[label] if label < len(names) else f'class {label}'


def object_names(sample: Sample, labels: Tensor) -> list[str]:
    """Return what the objects are called on the page: `#1 circle`.

    Example:
        >>> import torch
        >>> image, inputs = np.zeros((4, 6, 3), np.uint8), torch.zeros(1, 3, 4, 6)
        >>> sample = Sample(image, inputs, None, ('cat', 'dog'), 'a.png')
        >>> object_names(sample, torch.tensor([1, 0]))
        ['#1 dog', '#2 cat']
    """
    return [
        f'#{number} {class_name(sample, label)}'
        for number, label in enumerate(labels, 1)
    ]


def box_mark(box: Tensor, shade: str, text: str = '', label: str = '') -> Mark:
    """Return a box (x0, y0, x1, y1) as a mark.

    Example:
        >>> import torch
        >>> box_mark(torch.tensor([1.0, 2.0, 3.0, 4.0]), '#ff0000', label='#1').xy
        (1.0, 2.0, 3.0, 4.0)
    """
    x0, y0, x1, y1 = box.tolist()
    return Mark('box', (x0, y0, x1, y1), shade, text, label)


def point_marks(
    points: Tensor, owners: Tensor, texts: Sequence[str], *, negatives: bool = True
) -> list[Mark]:
    """Return points in the colours of the boxes that they learn.

    Args:
        points: x and y, (points, 2).
        owners: 0 for none, k for object k - 1.
        texts: For the pointer, one per point.
        negatives: Draw the points without an object, too, if they are not too many.

    Example:
        >>> import torch
        >>> points = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
        >>> marks = point_marks(points, torch.tensor([0, 1]), ['no object', '#1'])
        >>> [(mark.xy, mark.color == GREY) for mark in marks]
        [((4.0, 4.0), True), ((12.0, 4.0), False)]
    """
    negatives = negatives and len(points) <= MOST_POINTS
    rows = zip(points.tolist(), owners.tolist(), texts, strict=True)
    return [
        Mark('point', tuple(xy), colour(owner - 1) if owner else GREY, text)
        for xy, owner, text in rows
        if owner or negatives
    ]


def padded(image: NDArray, height: int, width: int) -> NDArray:
    """Return the image with grey to the right and below: what a map of a level covers.

    Args:
        image: `uint8 (H, W, 3)`.
        height: Of the result, where it is cut if that is smaller.
        width: Of the result.

    Example:
        >>> padded(np.zeros((1, 1, 3), np.uint8), 2, 2)[..., 0]
        array([[  0, 128],
               [128, 128]], dtype=uint8)
    """
    ground = np.full((height, width, 3), 128, np.uint8)
    part = image[:height, :width]
    ground[: part.shape[0], : part.shape[1]] = part
    return ground


def plot_marks(
    across: Sequence[float],
    up: Sequence[float],
    shades: Sequence[str],
    texts: list[str],
) -> tuple[NDArray, list[Mark]]:
    """Return a white ground and the marks of a plot of shares against shares.

    Args:
        across: From 0 to 1, one per point.
        up: From 0 to 1, one per point.
        shades: Colours of the points.
        texts: For the pointer.

    Example:
        >>> ground, marks = plot_marks([0.0], [1.0], ['#ff0000'], ['upper left'])
        >>> marks[-1].xy, marks[-1].text
        ((20.0, 20.0), 'upper left')
    """
    side, edge = 240, 20
    ground = np.full((side + 2 * edge, side + 2 * edge, 3), 255, np.uint8)
    at = lambda share: float(edge + side * share)
    line = lambda *xy, shade: Mark('line', tuple(map(at, xy)), shade)
    marks = [line(0, step, 1, step, shade='#dddddd') for step in (0, 0.25, 0.5, 0.75)]
    marks += [line(step, 0, step, 1, shade='#dddddd') for step in (0.25, 0.5, 0.75, 1)]
    marks += [line(0, 1, 1, 1, shade='#555555'), line(0, 0, 0, 1, shade='#555555')]
    marks.append(line(0, 1, 1, 0, shade='#bbbbbb'))
    for x, y, shade, text in zip(across, up, shades, texts, strict=True):
        marks.append(Mark('point', (at(x), at(1 - y)), shade, text))
    return ground, marks
