"""What a labelled folder holds, whatever its format."""

import colorsys
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError

Number = int | float
Box = tuple[Number, Number, Number, Number]
Polygon = list[Number]  # x, y, x, y, ...
# Of coordinates; neither NaN nor infinity is below it.
LARGEST = 1e7
# Polygons or run lengths, as COCO has them.
Mask = list[Polygon] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object of an image.

    Args:
        name: Its class.
        box: Left, top, right, bottom in pixels.
        mask: Its polygons or run lengths, as COCO has them; None for a box alone.
        crowd: Whether it stands for many that are not told apart.
    """

    name: str
    box: Box
    mask: Mask | None = None
    crowd: bool = False


@dataclass(slots=True)
class LabelledImage:
    """One image.

    Args:
        path: Its file.
        width: In pixels, after the camera's orientation is applied.
        height: Likewise.
        objects: What is labelled in it.
        split: `'train'`, `'val'`, `'test'`, or `''` if the folder does not say.
        label_map: File with a label for every pixel.
        name: The class of the whole image, where images are classified.
    """

    path: Path
    width: int
    height: int
    objects: list[LabelledObject] = field(default_factory=list)
    split: str = ''
    label_map: Path | None = None
    name: str = ''


@dataclass(slots=True)
class LabelledSet:
    """A labelled folder.

    Args:
        format: Its format: `'coco'`, `'yolo'`, `'voc'`, `'labelme'`, `'cvat'`,
            `'masks'` or `'class_folders'`.
        root: The folder.
        classes: Names of the classes; an object's label is the place of its name.
        images: The images.
        left_out: What could not be used: file, line or key, and why.
        notes: What else one should know.
        things: Panoptic: the classes that are counted.
        pixel_values: Label maps: the raw value or colour (R, G, B) of each class.
        ignored: Label maps: raw values or colours that do not count.
        palette: A colour for each class, if the folder has them.
        files: Of each split its annotation file and the folders that the names in it
            begin in, relative to the root; empty if a stock class cannot read it so.
    """

    format: str
    root: Path
    classes: tuple[str, ...] = ()
    images: list[LabelledImage] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    things: tuple[str, ...] | None = None
    pixel_values: tuple[Any, ...] = ()
    ignored: tuple[Any, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def splits(self) -> dict[str, int]:
        """Return how many images each split has."""
        counts: dict[str, int] = {}
        for image in self.images:
            counts[image.split] = counts.get(image.split, 0) + 1
        return counts

    def leave_out(self, file: str, error: Exception) -> None:
        """Say what is wrong with a file, and with which."""
        text = str(error)
        self.left_out.append(text if file in text else f'{file}: {text}')

    def note_unused(self, images: list[str], what: str) -> None:
        """Note images that lack what would tell their labels, if there are any."""
        if images:
            self.notes.append(
                f'{len(images)} images have no {what} and are not used, such as '
                f'{images[0]}'
            )

    def checked(self) -> 'LabelledSet':
        """Return the set, or refuse one that nothing can be learned from.

        Raises:
            UserError: If there are no images or no classes, or a class is named twice.
        """
        reasons = '\n'.join(f'  {one}' for one in self.left_out[:5])
        if not self.images:
            raise UserError(
                f'{self.root}: no labelled image that can be used ({self.format})'
                + (f'\n{reasons}' if reasons else '')
            )
        if not self.classes:
            raise UserError(
                f'{self.root}: no class is named and no object labelled '
                f'({self.format})' + (f'\n{reasons}' if reasons else '')
            )
        twice = sorted({one for one in self.classes if self.classes.count(one) > 1})
        if twice:
            raise UserError(
                f'{self.root}: the class {twice[0]!r} is named twice. Give each class '
                'its own name'
            )
        return self


def bounding_box(polygons: list[Polygon]) -> Box:
    """Return the smallest box around polygons.

    Args:
        polygons: Each x, y, x, y, ...; at least one.

    Example:
        >>> from paperzoo.data.formats.description import bounding_box
        >>> bounding_box([[1, 2, 5, 2, 5, 7]])
        (1, 2, 5, 7)
    """
    xs = [x for one in polygons for x in one[0::2]]
    ys = [y for one in polygons for y in one[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def painted_object(
    name: str,
    mask: NDArray[np.bool_],
    corner: tuple[float, float],
    size: tuple[int, int],
) -> LabelledObject:
    """Return the object of a mask that is painted on a part of an image.

    Args:
        name: Its class.
        mask: Of the part, True on the object.
        corner: x and y of the part's first pixel in the image, rounded.
        size: Width and height of the image.

    Raises:
        ValueError: If the part reaches out of the image, nothing is painted, or a
            coordinate is not finite.

    Example:
        >>> import numpy as np
        >>> from paperzoo.data.formats.description import painted_object
        >>> painted_object('cat', np.ones((2, 3), bool), (5, 4), (20, 10)).box
        (5.0, 4.0, 8.0, 6.0)
    """
    from paperzoo.utils.masks import encode

    high, wide = mask.shape
    width, height = size
    if not all(map(math.isfinite, corner)):
        raise ValueError('a coordinate is no number')
    left, top = map(round, corner)
    if min(left, top) < 0 or left + wide > width or top + high > height:
        raise ValueError('the mask reaches out of the image')
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError('the mask is empty')
    whole = np.zeros((height, width), bool)
    whole[top : top + high, left : left + wide] = mask
    x, y = left + columns[[0, -1]], top + rows[[0, -1]]
    box = (float(x[0]), float(y[0]), float(x[1] + 1), float(y[1] + 1))
    return LabelledObject(name, box, encode(whole))


def flaw_of(box: Box, width: int, height: int) -> str:
    """Return what is wrong with a box, or `''`.

    Args:
        box: Left, top, right, bottom in pixels.
        width: Of the image.
        height: Of the image.

    Example:
        >>> from paperzoo.data.formats.description import flaw_of
        >>> flaw_of((3, 4, 3, 9), 10, 10)
        'the box has no area (0 x 5 pixels)'
        >>> flaw_of((3, 4, 8, 9), 10, 10)
        ''
    """
    left, top, right, bottom = box
    if not all(abs(side) < LARGEST for side in box):
        return 'a coordinate is no number'
    if right <= left or bottom <= top:
        return f'the box has no area ({right - left:g} x {bottom - top:g} pixels)'
    if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
        return f'the box lies outside of the image ({width} x {height} pixels)'
    return ''


def distinct_colours(number: int) -> list[tuple[int, int, int]]:
    """Return colours that are easily told apart, always the same.

    Args:
        number: How many.

    Example:
        >>> from paperzoo.data.formats.description import distinct_colours
        >>> distinct_colours(2)
        [(230, 46, 46), (57, 96, 191)]
    """
    colours = []
    for index in range(number):
        # Steps of the golden ratio never come near an earlier hue for long.
        hue, light = index * 0.618034 % 1, (0.9, 0.75, 0.6)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.8, 0.7)[index % 2], light)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours
