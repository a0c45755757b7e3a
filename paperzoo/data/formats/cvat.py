"""CVAT for images: one XML file with boxes, polygons, ellipses and masks of all images.

`annotations.xml` beside a folder `images`, as CVAT exports tasks and projects ("CVAT
for images 1.1"). Its video format, which has tracks, is recognised and refused.
"""

import math
from contextlib import suppress
from xml.etree.ElementTree import Element

import numpy as np

from paperzoo.data.formats.description import (
    LabelledImage,
    LabelledObject,
    LabelledSet,
    Polygon,
    bounding_box,
    flaw_of,
    painted_object,
)
from paperzoo.data.formats.folder import Folder, size_as_stated, split_named, split_of
from paperzoo.data.formats.xml_files import number_of, parse_xml, text_in
from paperzoo.errors import UserError

_SIDES = ('xtl', 'ytl', 'xbr', 'ybr')
_CORNERS = 32  # of the polygon that stands for an ellipse


def is_cvat(folder: Folder) -> bool:
    """Return whether a folder has an XML file as CVAT writes it.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.cvat import is_cvat
        >>> from paperzoo.data.formats.folder import Folder
        >>> _ = (root / 'annotations.xml').write_text(
        ...     '<annotations><image name="a.png" width="20" height="10"/>'
        ...     '</annotations>')
        >>> is_cvat(Folder(root))
        True
    """
    for file in folder.ending('.xml')[:20]:
        with suppress(UserError, ValueError):
            if _task(folder, file) is not None:
                return True
    return False


def read_cvat(folder: Folder) -> LabelledSet:
    """Read images and objects; the classes are those of the task, in its order.

    Args:
        folder: With one XML file, or one for each task.

    Raises:
        UserError: If no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.cvat import read_cvat
        >>> from paperzoo.data.formats.folder import Folder
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'annotations.xml').write_text(
        ...     '<annotations><image name="a.png" width="20" height="10">'
        ...     '<box label="cat" xtl="8" ytl="3" xbr="12" ybr="7"/></image>'
        ...     '</annotations>')
        >>> read_cvat(Folder(root)).images[0].objects[0].box
        (8.0, 3.0, 12.0, 7.0)
    """
    found = LabelledSet('cvat', folder.root)
    used: set[str] = set()
    colours: dict[str, str] = {}
    for file in folder.ending('.xml'):
        try:
            root = _task(folder, file)
        except (UserError, ValueError) as error:
            found.leave_out(file, error)
            continue
        if root is None:
            continue
        if root.find('track') is not None:
            found.left_out.append(
                f'{folder.path(file)}: it has tracks, the format "CVAT for video". '
                'Export the task as "CVAT for images 1.1", with its images'
            )
            continue
        for label in root.iter('label'):
            # A part of a skeleton is no class of its own.
            if (name := text_in(label, 'name')) and not text_in(label, 'parent'):
                colours.setdefault(name, text_in(label, 'color'))
        for node in root.findall('image'):
            try:
                name = folder.only_image_of(node.get('name', ''), file, used)
                image = _image(folder, file, name, node, found)
            except (UserError, ValueError) as error:
                found.leave_out(file, error)
                continue
            used.add(name)
            found.images.append(image)
    bare = [one for one in folder.images if one not in used]
    found.note_unused(bare, 'entry in the XML file')
    seen = {one.name for image in found.images for one in image.objects}
    found.classes = (*colours, *sorted(seen - set(colours)))
    found.palette = _palette(list(colours.values()), len(found.classes))
    return found.checked()


def _task(folder: Folder, file: str) -> Element | None:
    """Return what an XML file holds if CVAT wrote it.

    Raises:
        UserError: If the file cannot be read.
        ValueError: If it is no XML.
    """
    root = parse_xml(folder.read_bytes(file))
    fits = any(root.find(one) is not None for one in ('image', 'track'))
    return root if root.tag == 'annotations' and fits else None


def _image(
    folder: Folder, file: str, name: str, node: Element, found: LabelledSet
) -> LabelledImage:
    width, height = size_as_stated(
        folder.path(name),
        (_number(node, 'width'), _number(node, 'height')),
        f'{file}, image {name!r}',
    )
    split = split_named(node.get('subset', '')) or split_of(name)
    image = LabelledImage(
        folder.path(name), width, height, split=split or split_of(file)
    )
    for number, shape in enumerate(node, 1):
        if shape.tag == 'tag':  # of the whole image
            continue
        try:
            one = _object(shape, width, height)
            if flaw := flaw_of(one.box, width, height):
                raise ValueError(flaw)
        except ValueError as error:
            place = f'{folder.path(file)}, image {name!r}, shape {number}'
            found.left_out.append(f'{place}: {error}')
            continue
        image.objects.append(one)
    return image


def _object(shape: Element, width: int, height: int) -> LabelledObject:
    """Return the object of a shape.

    Raises:
        ValueError: If the shape has no label or no area.
    """
    if not (name := shape.get('label', '').strip()):
        raise ValueError('it has no label')
    if shape.tag == 'mask':
        return _painted(shape, name, width, height)
    corners = _corners(shape)
    if shape.tag == 'box' and not _number(shape, 'rotation', 0.0):
        left, top, right, bottom = (_number(shape, side) for side in _SIDES)
        return LabelledObject(name, (left, top, right, bottom))
    polygon: Polygon = [side for corner in corners for side in corner]
    return LabelledObject(name, bounding_box([polygon]), [polygon])


def _corners(shape: Element) -> list[tuple[float, float]]:
    if shape.tag == 'polygon':
        pairs = [one.split(',') for one in shape.get('points', '').split(';')]
        try:
            corners = [(float(x), float(y)) for x, y in pairs]
        except ValueError:
            raise ValueError('its points are no pairs of numbers') from None
        if len(corners) < 3:
            raise ValueError(f'a polygon of {len(corners)} points has no area')
        return corners
    turn = math.radians(_number(shape, 'rotation', 0.0))
    if shape.tag == 'box':
        left, top, right, bottom = (_number(shape, side) for side in _SIDES)
        centre = ((left + right) / 2, (top + bottom) / 2)
        x, y = (right - left) / 2, (bottom - top) / 2
        around = [(-x, -y), (x, -y), (x, y), (-x, y)]
    elif shape.tag == 'ellipse':
        centre = (_number(shape, 'cx'), _number(shape, 'cy'))
        x, y = _number(shape, 'rx'), _number(shape, 'ry')
        angles = [2 * math.pi * step / _CORNERS for step in range(_CORNERS)]
        around = [(x * math.cos(one), y * math.sin(one)) for one in angles]
    else:
        raise ValueError(f'a {shape.tag} has no area')
    sine, cosine = math.sin(turn), math.cos(turn)
    return [
        (centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine)
        for x, y in around
    ]


def _painted(shape: Element, name: str, width: int, height: int) -> LabelledObject:
    """Return the object of a mask: lengths of runs, row by row, within a box.

    Raises:
        ValueError: If the runs do not fill the box, nothing is painted, or it reaches
            out of the image.
    """
    sides = ('left', 'top', 'width', 'height')
    left, top, wide, high = (int(_number(shape, side)) for side in sides)
    # Before the runs, which could fill the memory.
    if wide > width or high > height:
        raise ValueError('the mask reaches out of the image')
    try:
        runs = [int(one) for one in shape.get('rle', '').split(',')]
    except ValueError:
        raise ValueError('its rle is no list of numbers') from None
    if min(*runs, wide, high) < 0 or sum(runs) != wide * high:
        raise ValueError(f'its rle does not fill {wide} x {high} pixels')
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(high, wide)
    return painted_object(name, inside, (left, top), (width, height))


def _palette(colours: list[str], classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return the task's colours (`#fa3253`), if each class has its own."""
    if len(set(colours)) != classes or len(colours) != classes:
        return ()
    try:
        parts = [bytes.fromhex(one.removeprefix('#')) for one in colours]
    except ValueError:
        return ()
    if any(len(one) != 3 for one in parts):
        return ()
    return tuple((one[0], one[1], one[2]) for one in parts)


def _number(node: Element, key: str, default: float | None = None) -> float:
    return number_of(node.get(key, ''), key, default)
