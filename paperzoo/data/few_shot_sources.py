"""Labelled images of one split, from the forms in which few-shot sets are shipped.

| layout | files below `data_root` (defaults; `{split}` is replaced) | shipped so |
| --- | --- | --- |
| `folders` | `{split}/CLASS/*.png`, or `img_path/CLASS/...` and a list of classes as `ann_file` | Omniglot, CIFAR-FS, Glyphs |
| `csv` | `{split}.csv` with the columns filename and label, `images/` | miniImageNet, CUB |
| `json` | `{split}.json` with label_names, image_names, image_labels | CUB |
| `pickle` | one file with images and labels, or one each | miniImageNet, tieredImageNet, CIFAR-FS |
"""  # noqa: E501

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, Shaped, UInt8

from paperzoo.data.formats.folder import decode
from paperzoo.data.layout import locate
from paperzoo.errors import UserError, check_choice
from paperzoo.utils.plain_pickle import load_plain
from paperzoo.utils.wording import some

Picture = UInt8[np.ndarray, 'height width 3']
SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')


@dataclass(frozen=True)
class LabelledImages:
    """The images of a split.

    Args:
        classes: Names, in order of the labels.
        labels: Class index of each image.
        images: Each a file, an encoded picture (one dimension) or RGB pixels.
        named: Whether the names are names, so that two splits can be compared.
    """

    classes: tuple[str, ...]
    labels: Int[np.ndarray, ' images']
    images: Sequence[Path | np.ndarray] | Shaped[np.ndarray, 'images ...']
    named: bool = True

    def read(self, index: int) -> Picture:
        """Return the RGB pixels of an image.

        Raises:
            UserError: If the image's file cannot be read.
        """
        item = self.images[index]
        if isinstance(item, Path):
            content = item.read_bytes() if item.is_file() else b''
            pixels = _decoded(np.frombuffer(content, np.uint8))
        elif item.ndim == 1:
            pixels = _decoded(item)
        elif item.ndim == 2:
            pixels = cv2.cvtColor(item, cv2.COLOR_GRAY2BGR)
        else:
            return item
        if pixels is None:
            where = item if isinstance(item, Path) else f'number {index} of its file'
            raise UserError(f'image {where} cannot be read. Fetch the data set again')
        return np.ascontiguousarray(pixels[..., ::-1])


def _decoded(content: np.ndarray) -> Any:
    """Return the pixels of an encoded picture, or None if there is none."""
    try:
        return cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # empty, or more pixels than OpenCV takes
        return None


@dataclass(frozen=True)
class Place:
    """Where a split lies: below `root` its list and its images, '' for none."""

    root: Path
    ann_file: str
    img_path: str

    @property
    def file(self) -> Path:
        """The file that lists the split."""
        return self.root / self.ann_file

    @property
    def images(self) -> Path:
        """Folder or file of the images."""
        return self.root / self.img_path


def _read_folders(place: Place) -> LabelledImages:
    """Read images whose folder is their class, at any depth; hidden ones do not count.

    Args:
        place: `ann_file`, if any, lists the folders that belong to the split.

    Raises:
        UserError: If there is no image at all, or none of a listed class.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(place.images.rglob('*')):
        inside = path.relative_to(place.images)
        # What editors and systems leave behind: .ipynb_checkpoints, ._a.png
        hidden = any(part.startswith(('.', '__MACOSX')) for part in inside.parts)
        if path.suffix.lower() in SUFFIXES and not hidden:
            name = inside.parent.as_posix()
            found.setdefault(name, []).append(path)
    if place.ann_file:
        lines = decode(place.file.read_bytes(), place.file).splitlines()
        wanted = [line.strip() for line in lines if line.strip()]
        if missing := [name for name in wanted if name not in found]:
            raise UserError(
                f'{place.file} lists {some(map(repr, missing), 8)}, without an '
                f'image below {place.images}. Correct the list or img_path'
            )
        found = {name: found[name] for name in wanted}
    return _grouped(found, str(place.images))


def _read_csv(place: Place) -> LabelledImages:
    """Read a table with the columns filename and label.

    Args:
        place: Of the table and of the folder that its file names begin in.

    Raises:
        UserError: If a column, a label or an image is missing, or an image is named
            twice.
    """
    found: dict[str, list[Path]] = {}
    text = decode(place.file.read_bytes(), place.file)
    table = csv.DictReader(io.StringIO(text, newline=''))
    if not {'filename', 'label'} <= set(table.fieldnames or ()):
        raise UserError(
            f'{place.file}: its columns are {table.fieldnames}; the first line '
            'must name filename and label'
        )
    for row in table:
        if not row['filename'] or not row['label']:
            raise UserError(
                f'{place.file}, line {table.line_num}: {row} has no filename or no '
                'label. Complete or delete the line'
            )
        found.setdefault(row['label'], []).append(place.images / row['filename'])
    return _grouped(dict(sorted(found.items())), str(place.file))


def _read_json(place: Place) -> LabelledImages:
    """Read a file with label_names, image_names and image_labels.

    Args:
        place: Of the file, and of the folder that relative image names begin in.

    Raises:
        UserError: If the file is no JSON, a key or an image is missing, or an image is
            named twice.
    """
    try:
        content = json.loads(decode(place.file.read_bytes(), place.file))
        names = content['label_names']
        pairs = zip(content['image_names'], content['image_labels'], strict=True)
        found: dict[str, list[Path]] = {}
        for path, label in pairs:
            found.setdefault(names[label], []).append(place.images / path)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f'{place.file}: not a list of images ({error!r}); it needs label_names, '
            'and image_names and image_labels of equal length'
        ) from error
    return _grouped(dict(sorted(found.items())), str(place.file))


def _read_pickle(place: Place) -> LabelledImages:
    """Read pickled images and labels; nothing in the pickles is run.

    Args:
        place: `ann_file` holds the labels; the images too, unless `img_path` names
            their own file.

    Raises:
        UserError: If the file holds neither of the known forms, or its pixels are no
            RGB images of 8 bits, height x width x 3.
    """
    content = load_plain(place.file)
    images = load_plain(place.images) if place.img_path else None
    if not isinstance(content, dict):
        raise UserError(f'{place.file} holds a {type(content).__name__}, not a dict')
    names: Sequence[str] | None = None
    if images is None:
        images = _first_of(content, ('data', 'image_data', 'images'))
    if 'class_dict' in content:
        names = sorted(content['class_dict'])
        labels = np.full(len(images), -1)
        for index, name in enumerate(names):
            labels[np.asarray(content['class_dict'][name])] = index
    else:
        labels = _first_of(content, ('labels', 'label_specific'))
        names = _first_of(content, ('label_specific_str', 'catname2label'))
    if images is None or labels is None or len(images) != len(labels) or -1 in labels:
        raise UserError(
            f'{place.file}: its keys are {sorted(map(str, content))}; known are '
            'data or image_data with labels or class_dict, and label_specific with '
            'the images in their own file (img_path); each image needs one label'
        )
    _check_pixels(images, place.images if place.img_path else place.file)
    return _numbered(images, np.asarray(labels), names)


Reader = Callable[[Place], LabelledImages]
# Reader, ann_file and img_path of each layout.
LAYOUTS: dict[str, tuple[Reader, str, str]] = {
    'folders': (_read_folders, '', '{split}'),
    'csv': (_read_csv, '{split}.csv', 'images'),
    'json': (_read_json, '{split}.json', ''),
    'pickle': (_read_pickle, '{split}.pkl', ''),
}


def locate_split(
    data_root: str,
    split: str,
    layout: str,
    ann_file: str | None = None,
    img_path: str | None = None,
) -> tuple[Reader, Place]:
    """Return where a split lies and what reads it.

    Args:
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        split: Replaces `{split}` in the two paths.
        layout: One of `LAYOUTS`.
        ann_file: Relative to the root; None is the layout's own.
        img_path: Likewise.

    Raises:
        UserError: If the layout is unknown or a file is missing.

    Example:
        >>> try:
        ...     locate_split('data/glyphs', 'train', layout='zip')
        ... except UserError as error:
        ...     print(error)
        EpisodeDataset: layout='zip': use 'folders' or 'csv' or 'json' or 'pickle'
    """
    check_choice('EpisodeDataset', 'layout', layout, tuple(LAYOUTS))
    reader, own_file, own_path = LAYOUTS[layout]
    file = (own_file if ann_file is None else ann_file).format(split=split)
    path = (own_path if img_path is None else img_path).format(split=split)
    root = locate(
        data_root,
        [part for part in (file, path) if part],
        f"few-shot split '{split}' as layout='{layout}'",
        'dmf_tiny_glyphs',
    )
    return reader, Place(Path(root), file, path)


def check_disjoint(split: str, classes: Sequence[str], other: str, names: Any) -> None:
    """Refuse two splits that share classes.

    Args:
        split: Name of the one.
        classes: Its classes.
        other: Name of the other.
        names: Its classes.

    Raises:
        UserError: If a class is in both splits; the message names the classes.

    Example:
        >>> try:
        ...     check_disjoint('train', ['cat', 'dog'], 'test', ['dog'])
        ... except UserError as error:
        ...     print(str(error).partition(': ')[0])
        the splits 'train' and 'test' share 1 of their classes
    """
    if shared := sorted(set(classes) & set(names)):
        raise UserError(
            f"the splits '{split}' and '{other}' share {len(shared)} of their classes: "
            f'{some(map(repr, shared), 8)}. Few-shot classes must be new to the '
            'model: correct the lists or folders of the splits'
        )


def _grouped(found: dict[str, list[Path]], where: str) -> LabelledImages:
    if not found:
        raise UserError(
            f'{where}: no images there. Correct data_root, split or img_path'
        )
    images = [path for paths in found.values() for path in paths]
    if missing := [path for path in images if not path.is_file()]:
        raise UserError(
            f'{where} names {len(missing)} of {len(images)} images that are not there, '
            f'such as {missing[0]}. Give img_path, the folder that the names begin in, '
            'relative to data_root, or put the images there'
        )
    seen: dict[str, str] = {}
    for name, paths in found.items():
        for path in paths:
            plain = os.path.normpath(path)
            if plain in seen:
                raise UserError(
                    f'{where} names {path} twice, as {seen[plain]!r} and {name!r}: a '
                    'query could be its own support. Name each image once'
                )
            seen[plain] = name
    counts = [len(paths) for paths in found.values()]
    labels = np.repeat(np.arange(len(found)), counts)
    return LabelledImages(tuple(found), labels, images)


def _check_pixels(images: Any, where: Path) -> None:
    """Refuse arrays that `LabelledImages.read` would hand on as wrong pixels."""
    for item in [images] if isinstance(images, np.ndarray) else images[:1]:
        one = item[0] if item is images and item.dtype == object else item
        shape = one.shape[1:] if one is images else one.shape
        if len(shape) == 1:
            return  # an encoded picture, or a row of the whole
        remedy = ''
        if one.dtype != np.uint8:
            remedy = (
                f'are of {one.dtype}, from {one.min():g} to {one.max():g}. Write uint8 '
                'from 0 to 255'
            )
        elif len(shape) == 3 and shape[-1] != 3:
            remedy = f'have the shape {tuple(shape)}. Write height x width x 3' + (
                ': .transpose(0, 2, 3, 1)' if shape[0] == 3 else ''
            )
        elif len(shape) not in (2, 3):
            remedy = f'have the shape {tuple(shape)}. Write height x width x 3'
        if remedy:
            raise UserError(f'{where}: the images {remedy}')


def _numbered(images: Any, labels: np.ndarray, names: Any) -> LabelledImages:
    """Return images whose labels may begin anywhere and skip numbers."""
    numbers, dense = np.unique(labels, return_inverse=True)
    if isinstance(names, dict):
        names = {label: name for name, label in names.items()}
        named = all(number in names for number in numbers.tolist())
    else:
        named = names is not None and len(names) > int(numbers.max())
    classes = [names[n] if named else n for n in numbers.tolist()]
    return LabelledImages(tuple(map(str, classes)), dense.reshape(-1), images, named)


def _first_of(content: dict, keys: tuple[str, ...]) -> Any:
    return next((content[key] for key in keys if key in content), None)
