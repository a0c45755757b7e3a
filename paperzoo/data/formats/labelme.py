"""LabelMe: a JSON file for each image, with polygons, rectangles, circles.

Shapes of one label and one group are one object. What has no area (points, lines) is
left out.
"""

import base64
import io
import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from paperzoo.data.formats.description import (
    LabelledImage,
    LabelledObject,
    LabelledSet,
    Polygon,
    bounding_box,
    flaw_of,
    painted_object,
)
from paperzoo.data.formats.folder import Folder, size_as_stated, split_of
from paperzoo.errors import UserError

_CORNERS = 64  # of a circle's polygon
_WRONG_TYPE = (ValueError, TypeError, OverflowError)


def is_labelme(folder: Folder) -> bool:
    """Return whether a folder has JSON files as LabelMe's.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.labelme import is_labelme
        >>> _ = (root / 'a.json').write_text('{"shapes": []}')
        >>> is_labelme(Folder(root))
        True
    """
    return any(
        isinstance(folder.keyed_json(one, 'shapes').get('shapes'), list)
        for one in folder.ending('.json')[:20]
    )


def read_labelme(folder: Folder) -> LabelledSet:
    """Read images and shapes; the classes are those that occur, by name.

    Args:
        folder: With JSON files.

    Raises:
        UserError: If no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.labelme import read_labelme
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'a.json').write_text('''{"imagePath": "a.png", "shapes": [{
        ...     "label": "cat", "shape_type": "rectangle",
        ...     "points": [[8, 3], [12, 7]]}]}''')
        >>> read_labelme(Folder(root)).images[0].objects[0].box
        (8.0, 3.0, 12.0, 7.0)
    """
    found = LabelledSet('labelme', folder.root)
    used: set[str] = set()
    for file in folder.ending('.json'):
        try:
            content = folder.read_json(file)
            if not isinstance(content, dict) or 'shapes' not in content:
                raise UserError(f'{file}: no file of LabelMe (no shapes)')
            if not isinstance(content['shapes'], list):
                raise UserError(f'{file}: shapes is no list; it is [] without objects')
            named = str(content.get('imagePath') or '')
            name = folder.only_image_of(named, file, used)
            image = _image(folder, file, name, content, found)
        except UserError as error:
            found.left_out.append(str(error))
            continue
        used.add(name)
        found.images.append(image)
    found.note_unused([one for one in folder.images if one not in used], 'JSON file')
    names = {one.name for image in found.images for one in image.objects}
    found.classes = tuple(sorted(names))
    return found.checked()


def _image(
    folder: Folder, file: str, name: str, content: dict[str, Any], found: LabelledSet
) -> LabelledImage:
    stated = (content.get('imageWidth'), content.get('imageHeight'))
    width, height = size_as_stated(
        folder.path(name), stated if all(stated) else None, file
    )
    # Only folders tell: the file has a picture's name, such as crash_test.json.
    beside = PurePosixPath(file).with_name(PurePosixPath(name).name)
    image = LabelledImage(
        folder.path(name), width, height, split=split_of(str(beside)) or split_of(name)
    )
    groups: dict[Any, list[Polygon]] = {}
    for number, shape in enumerate(content['shapes'], 1):
        place = f'{folder.path(file)}, shape {number}'
        try:
            label = _label(shape)
            if shape.get('shape_type') == 'mask':
                image.objects.append(_drawn(shape, label, (width, height)))
                continue
            polygon = _polygon(shape)
            if flaw := flaw_of(bounding_box([polygon]), width, height):
                raise ValueError(flaw)
        except ValueError as error:
            found.left_out.append(f'{place}: {error}')
            continue
        group = shape.get('group_id')
        key = (number, label) if group is None else (f'group {group}', label)
        groups.setdefault(key, []).append(polygon)
    image.objects += [
        LabelledObject(label, bounding_box(polygons), polygons)
        for (_, label), polygons in groups.items()
    ]
    return image


def _label(shape: Any) -> str:
    """Return the class of a shape.

    Raises:
        ValueError: If the shape has none.
    """
    if not isinstance(shape, dict):
        raise ValueError('it has no keys: it needs label and points')
    label = shape.get('label')
    if label is None or label == '' or str(label).isspace():
        raise ValueError('it has no label')
    if not isinstance(label, str | int | float):
        raise ValueError('its label is no text')
    return str(label).strip()


def _points(shape: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the points of a shape.

    Raises:
        ValueError: If they are no pairs of numbers.
    """
    try:
        return [(float(x), float(y)) for x, y in shape.get('points') or ()]
    except _WRONG_TYPE:
        raise ValueError('its points are no pairs of numbers') from None


def _polygon(shape: dict[str, Any]) -> Polygon:
    """Return the corners of a shape as x, y, x, y, ...

    Raises:
        ValueError: If the shape has no area.
    """
    kind = shape.get('shape_type') or 'polygon'
    points = _points(shape)
    if kind == 'rectangle' and len(points) == 2:
        (left, top), (right, bottom) = points
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == 'circle' and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        angles = (2 * math.pi * step / _CORNERS for step in range(_CORNERS))
        points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
    elif kind not in ('polygon', 'rectangle', 'rotation', 'circle') or len(points) < 3:
        raise ValueError(f'a {kind} of {len(points)} points has no area')
    return [side for point in points for side in point]


def _drawn(shape: dict[str, Any], label: str, size: tuple[int, int]) -> LabelledObject:
    """Return the object of a painted mask, which lies in the file as a small PNG.

    Raises:
        ValueError: If the mask is no picture, is empty, or reaches out of the image.
    """
    if not (points := _points(shape)):
        raise ValueError('it has no points')
    try:
        content = base64.b64decode(shape.get('mask') or '')
        with Image.open(io.BytesIO(content)) as picture:
            small = np.asarray(picture.convert('L')) > 0
    except (*_WRONG_TYPE, OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError('its mask is no picture (PNG in base64)') from None
    return painted_object(label, small, points[0], size)
