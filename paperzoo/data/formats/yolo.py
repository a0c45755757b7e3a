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
from collections.abc import Collection
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
_IMAGE_LISTS = ('train', 'val', 'valid', 'test')
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
    labels = _labels(folder, folder.images[:1000]).values()
    return bool(labels) and bool(_name_lists(folder, labels))


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
    found = LabelledSet('yolo', folder.root)
    labels = _labels(folder, folder.images)
    found.classes, places = _names(folder, labels.values(), found)
    bare, outside, twice = 0, [], []
    for image in folder.images:
        splits = _splits(image, places)
        if not splits:
            outside.append(image)
            continue
        if len(splits) > 1:
            twice.append(image)
        label = labels.get(image)
        bare += label is None
        try:
            width, height = image_size(folder.path(image))
            one = LabelledImage(folder.path(image), width, height, split=splits[0])
            if label is not None:
                one.objects = _objects(folder, label, (width, height), found)
        except UserError as error:
            found.left_out.append(str(error))
            continue
        found.images.append(one)
    alone = {one for one in folder.ending('.txt') if _is_label(one)}
    alone -= set(labels.values())
    found.left_out += without_image(sorted(alone), 'label file')
    found.note_unused(outside, 'place in train, val or test')
    if twice:
        splits = _splits(twice[0], places)
        found.notes.append(
            f'{len(twice)} images are in {" and in ".join(splits)}, such as '
            f'{twice[0]}: they are used for {splits[0]} only'
        )
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


def _names(
    folder: Folder, labels: Collection[str], found: LabelledSet
) -> tuple[tuple[str, ...], dict[str, set[str]]]:
    """Return the classes, and for each split the folders and images that it has."""
    if file := _yaml_file(folder):
        return _from_yaml(folder, file, found)
    lists = _name_lists(folder, labels)
    if not lists:
        raise UserError(
            f'{folder.root}: no data.yaml, obj.names or classes.txt names the classes'
        )
    file = min(lists, key=lambda name: name.count('/'))
    names = [line.strip() for line in folder.read_text(file).rstrip().splitlines()]
    if '' in names:
        raise UserError(
            f'{folder.path(file)}, line {names.index("") + 1} is blank, so the numbers '
            'of the classes below it are not certain. Name the class, or remove the '
            'line'
        )
    places: dict[str, set[str]] = {}
    for one in folder.ending('.txt'):
        stem = PurePosixPath(one).stem.lower()
        if stem in _IMAGE_LISTS and one not in labels:
            images = _listed(folder, one, found)
            places.setdefault(split_named(stem), set()).update(images)
    return tuple(names), places


def _name_lists(folder: Folder, labels: Collection[str]) -> list[str]:
    return [
        one
        for one in folder.files
        if PurePosixPath(one).name.lower() in _NAME_LISTS and one not in labels
    ]


def _from_yaml(
    folder: Folder, file: str, found: LabelledSet
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
            f'{path}: nc is {content["nc"]!r}, but names has {len(names)} classes'
        )
    places: dict[str, set[str]] = {}
    for key in ('train', 'val', 'valid', 'test'):
        entry = content.get(key)
        for one in entry if isinstance(entry, list) else [entry]:
            if not one:
                continue
            here = _places(folder, file, content.get('path'), str(one), found)
            if not here:
                found.left_out.append(
                    f'{path}, {key}: no image is found at {str(one)!r}. Correct the '
                    'path'
                )
            places.setdefault(split_named(key), set()).update(here)
    return tuple(map(str, names)), places


def _places(
    folder: Folder, file: str, root: Any, entry: str, found: LabelledSet
) -> list[str]:
    """Return the folder or images that an entry of data.yaml means, if found here."""
    base = str(PurePosixPath(file).parent)
    name = entry.replace('\\', '/')
    if name.endswith('.txt'):
        for above in (str(root or ''), ''):
            choice = os.path.normpath(os.path.join(base, above, name))
            if choice in folder.files:
                return _listed(folder, choice, found)
        return []
    # Roboflow writes ../train/images and means train/images; other paths may be those
    # of another machine: what counts is how they end.
    parts = [part for part in PurePosixPath(name).parts if part not in ('..', '.')]
    for start in range(max(1, len(parts))):
        place = '/'.join(parts[start:])
        near = os.path.normpath(os.path.join(base, place)).replace(os.sep, '/')
        if hit := next((p for p in (near, place) if _has(folder, p)), None):
            return [hit]
    return []


def _has(folder: Folder, place: str) -> bool:
    return place == '.' or any(one.startswith(f'{place}/') for one in folder.images)


def _listed(folder: Folder, file: str, found: LabelledSet) -> list[str]:
    """Return the images that a text file lists."""
    images = []
    for number, line in enumerate(folder.read_text(file).splitlines(), 1):
        if not (name := line.strip()):
            continue
        image = folder.image_of(name, file)
        if image is None:
            place = f'{folder.path(file)}, line {number}'
            found.left_out.append(f'{place}: no image {name!r} in the folder')
        else:
            images.append(image)
    return images


def _splits(image: str, places: dict[str, set[str]]) -> list[str]:
    """Return the splits that have an image, or what its folders say if none has any."""
    if not any(places.values()):
        return [split_of(image)]
    around = {image, *map(str, PurePosixPath(image).parents)}
    return [split for split, starts in places.items() if around & starts]


def _is_label(name: str) -> bool:
    """Return whether a text file that no image has is still meant as a label file."""
    path = PurePosixPath(name)
    known = path.name.lower() in _NAME_LISTS or path.stem.lower() in (
        *_IMAGE_LISTS, 'notes', 'license', 'requirements', 'darknet',
    )  # fmt: skip
    return not known and 'readme' not in path.name.lower()


def _labels(folder: Folder, images: Collection[str]) -> dict[str, str]:
    """Return the label file of each image that has one."""
    texts = {_label_path(one): one for one in folder.ending('.txt')}
    found = {image: _label_of(image, texts) for image in images}
    return {image: label for image, label in found.items() if label is not None}


def _label_of(image: str, texts: dict[str, str]) -> str | None:
    """Return the label file of an image: in `labels` instead of `images`, or beside."""
    path = _label_path(image)
    parts = path.split('/')
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() in ('images', 'imgs', 'img'):
            other = '/'.join([*parts[:place], 'labels', *parts[place + 1 :]])
            if other in texts:
                return texts[other]
    return texts.get(path)


def _label_path(name: str) -> str:
    """Return a path with `.txt` and folders `labels` in lower case, to compare."""
    *folders, last = PurePosixPath(name).with_suffix('.txt').parts
    plain = (one.lower() if one.lower() == 'labels' else one for one in folders)
    return '/'.join([*plain, last])


def _objects(
    folder: Folder,
    file: str,
    size: tuple[int, int],
    found: LabelledSet,
) -> list[LabelledObject]:
    objects = []
    for number, line in enumerate(folder.read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        one = _object(line.split(), found.classes, size)
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
