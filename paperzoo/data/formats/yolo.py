"""YOLO: a text file of numbers beside each image, and data.yaml.

| layout | who writes it |
| --- | --- |
| `data.yaml`, `images/train`, `labels/train` | ultralytics, CVAT |
| `data.yaml`, `train/images`, `train/labels` | Roboflow |
| `obj.names`, `obj.data`, images and labels in one folder | Darknet, CVAT |
| `classes.txt`, `images`, `labels` (or all in one folder) | LabelImg, Label Studio |

A line is the class, then the box (centre, width, height) or the corners of a polygon,
all as fractions of the image.
"""

import os
from pathlib import PurePosixPath
from typing import Any

import yaml

from paperzoo.data.formats.description import (
    LabelledImage,
    LabelledObject,
    LabelledSet,
    bounding_box,
    flaw_of,
)
from paperzoo.data.formats.folder import (
    Folder,
    image_size,
    split_named,
    split_of,
    without_image,
)
from paperzoo.errors import UserError
from paperzoo.utils.plain_yaml import plain_yaml

_NAME_LISTS = ('obj.names', 'classes.txt', 'labels.txt', 'class_names.txt')
# Labels are written with a few digits: what is beyond the edge by less is no fault.
_SLACK = 0.01


def is_yolo(folder: Folder) -> bool:
    """Return whether a folder has what YOLO's label files need beside them.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.yolo import is_yolo
        >>> _ = (root / 'data.yaml').write_text('names: [cat, dog]')
        >>> is_yolo(Folder(root))
        True
    """
    if _yaml_file(folder) is not None:
        return True
    labels = {one for one in folder.ending('.txt') if _is_label(one)}
    named = any(PurePosixPath(one).name in _NAME_LISTS for one in folder.files)
    return named and any(_label_of(image, labels) for image in folder.images[:1000])


def read_yolo(folder: Folder) -> LabelledSet:
    """Read images, boxes and polygons.

    Args:
        folder: Of one of the layouts above.

    Raises:
        UserError: If the names of the classes cannot be read, or no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.yolo import read_yolo
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'a.txt').write_text('0 0.5 0.5 0.2 0.4')
        >>> _ = (root / 'classes.txt').write_text('cat')
        >>> read_yolo(Folder(root)).images[0].objects[0].box
        (8.0, 3.0, 12.0, 7.0)
    """
    names, places = _names(folder)
    found = LabelledSet('yolo', folder.root, names)
    labels = {one for one in folder.ending('.txt') if _is_label(one)}
    used, bare = set(), 0
    for image in folder.images:
        split = _split(image, places)
        if split is None:
            continue
        label = _label_of(image, labels)
        used.add(label)
        bare += label is None
        try:
            width, height = image_size(folder.path(image))
            one = LabelledImage(folder.path(image), width, height, split=split)
            if label is not None:
                one.objects = _objects(folder, label, names, (width, height), found)
        except UserError as error:
            found.left_out.append(str(error))
            continue
        found.images.append(one)
    found.left_out += without_image(sorted(labels - used), 'label file')
    if bare:
        found.notes.append(
            f'{bare} images have no label file: YOLO takes them as images without an '
            'object'
        )
    return found.checked()


def _yaml_file(folder: Folder) -> str | None:
    """Return the data.yaml that is nearest to the root."""
    for one in sorted(folder.ending('.yaml', '.yml'), key=lambda name: name.count('/')):
        try:
            content = plain_yaml(folder.read_text(one))
        except (UserError, yaml.YAMLError, RecursionError):
            if PurePosixPath(one).stem.lower() in ('data', 'dataset'):
                return one  # the reader says what is wrong with it
            continue
        if isinstance(content, dict) and 'names' in content:
            return one
    return None


def _names(folder: Folder) -> tuple[tuple[str, ...], dict[str, set[str]]]:
    """Return the classes, and for each split the folders and images that it has."""
    if file := _yaml_file(folder):
        return _from_yaml(folder, file)
    lists = [one for one in folder.files if PurePosixPath(one).name in _NAME_LISTS]
    if not lists:
        raise UserError(
            f'{folder.root}: no data.yaml, obj.names or classes.txt names the classes'
        )
    lines = folder.read_text(min(lists, key=lambda name: name.count('/'))).splitlines()
    places = {
        split: set(_listed(folder, one))
        for one in folder.ending('.txt')
        if (split := split_of(PurePosixPath(one).name)) and not _is_label(one)
    }
    return tuple(line.strip() for line in lines if line.strip()), places


def _from_yaml(
    folder: Folder, file: str
) -> tuple[tuple[str, ...], dict[str, set[str]]]:
    path = folder.path(file)
    try:
        content = plain_yaml(folder.read_text(file))
    except (UserError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f'{path} is no YAML that can be read: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds no keys: it needs names, train and val')
    names = content.get('names')
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f'{path}: the keys of names must be 0, 1, 2, ...')
        names = [names[index] for index in range(len(names))]
    plain = isinstance(names, list) and all(
        isinstance(one, str | int | float) for one in names
    )
    if not names or not plain:
        raise UserError(f'{path}: names must be a list of the classes, in order')
    if 'kpt_shape' in content:
        raise UserError(
            f'{path}: these are key points (kpt_shape); here are boxes and polygons'
        )
    if content.get('nc', len(names)) != len(names):
        raise UserError(
            f'{path}: nc is {content["nc"]}, but names has {len(names)} classes'
        )
    places = {
        split: set(_places(folder, file, content.get('path'), content.get(key)))
        for key in ('train', 'val', 'valid', 'test')
        if (split := split_named(key)) and content.get(key)
    }
    return tuple(map(str, names)), places


def _places(folder: Folder, file: str, root: Any, entry: Any) -> list[str]:
    """Return the folders or images that an entry of data.yaml means, if found here."""
    base = str(PurePosixPath(file).parent)
    found = []
    for one in entry if isinstance(entry, list) else [entry]:
        name = str(one).replace('\\', '/')
        if name.endswith('.txt'):
            listed = os.path.normpath(os.path.join(base, str(root or ''), name))
            for choice in (listed, os.path.normpath(os.path.join(base, name))):
                if choice in folder.files:
                    found += _listed(folder, choice)
                    break
            continue
        # Roboflow writes ../train/images and means train/images; other paths may be
        # those of another machine: what counts is how they end.
        parts = [part for part in PurePosixPath(name).parts if part not in ('..', '.')]
        for start in range(len(parts)):
            place = '/'.join(parts[start:])
            near = os.path.normpath(os.path.join(base, place)).replace(os.sep, '/')
            if hit := next((p for p in (near, place) if _has(folder, p)), None):
                found.append(hit)
                break
    return found


def _has(folder: Folder, place: str) -> bool:
    return place == '.' or any(one.startswith(f'{place}/') for one in folder.files)


def _listed(folder: Folder, file: str) -> list[str]:
    """Return the images that a text file lists."""
    lines = folder.read_text(file).splitlines()
    found = [folder.image_of(line.strip(), file) for line in lines if line.strip()]
    return [one for one in found if one is not None]


def _split(image: str, places: dict[str, set[str]]) -> str | None:
    """Return the split of an image, or None if it belongs to none of those named."""
    around = {image, *map(str, PurePosixPath(image).parents)}
    for split, starts in places.items():
        if around & starts:
            return split
    return None if any(places.values()) else split_of(image)


def _is_label(name: str) -> bool:
    """Return whether a text file may be that of an image."""
    path = PurePosixPath(name)
    known = path.name.lower() in _NAME_LISTS or path.stem.lower() in (
        'train', 'val', 'valid', 'test', 'notes', 'license', 'requirements', 'darknet',
    )  # fmt: skip
    return not known and 'readme' not in path.name.lower()


def _label_of(image: str, labels: set[str]) -> str | None:
    """Return the label file of an image: in `labels` instead of `images`, or beside."""
    path = PurePosixPath(image).with_suffix('.txt')
    parts = list(path.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() in ('images', 'imgs', 'img'):
            other = '/'.join([*parts[:place], 'labels', *parts[place + 1 :]])
            if other in labels:
                return other
    return str(path) if str(path) in labels else None


def _objects(
    folder: Folder,
    file: str,
    names: tuple[str, ...],
    size: tuple[int, int],
    found: LabelledSet,
) -> list[LabelledObject]:
    objects = []
    for number, line in enumerate(folder.read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        one = _object(line.split(), names, size)
        if isinstance(one, str):
            found.left_out.append(f'{folder.path(file)}, line {number}: {one}')
        else:
            objects.append(one)
    return objects


def _object(
    words: list[str], names: tuple[str, ...], size: tuple[int, int]
) -> LabelledObject | str:
    """Return the object of a line, or what is wrong with it."""
    try:
        label, *numbers = map(float, words)
    except ValueError:
        return 'a word is no number'
    if not label.is_integer() or not 0 <= label < len(names):
        last = len(names) - 1
        return f'class {words[0]}, but the classes are 0 to {last}'
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return (
            f'{len(words)} numbers: a box has 5 (class, centre, width, height), a '
            'polygon 7 and more'
        )
    if not all(-_SLACK <= one <= 1 + _SLACK for one in numbers):
        return 'a coordinate is not between 0 and 1 (a fraction of the image)'
    width, height = size
    pixels = [one * (height if i % 2 else width) for i, one in enumerate(numbers)]
    mask = None
    if len(numbers) == 4:
        x, y, w, h = pixels
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        mask, box = [pixels], bounding_box([pixels])
    return flaw_of(box, width, height) or LabelledObject(names[int(label)], box, mask)
