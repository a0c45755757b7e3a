"""Images and label maps: a picture of equal size that gives every pixel its class.

A label map is a palette picture, grey, 16 bit, or coloured; what its values mean is
told by one of the tables in `_TABLES`, or by the values themselves.

| layout | who writes it |
| --- | --- |
| `images/train/a.jpg`, `masks/train/a.png` (or the split first) | most |
| `JPEGImages`, `SegmentationClass`, `ImageSets`, `labelmap.txt` | VOC, CVAT |
| `train/a.jpg`, `train/a_mask.png`, `_classes.csv` | Roboflow |
"""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64, Integer
from PIL import Image

from paperzoo.data.formats.description import LabelledImage, LabelledSet
from paperzoo.data.formats.folder import Folder, image_size, split_of, suffix
from paperzoo.errors import UserError

Value = int | tuple[int, int, int]

_IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'rgb')
_MAP_FOLDERS = (
    'masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'ann_dir', 'gt',
    'segmentationclass', 'segmentation', 'seg', 'labelids', 'ground_truth', 'targets',
)  # fmt: skip
_MAP_ENDS = re.compile(
    r'(_mask|_masks|_label|_labels|_labelids|_seg|_segmentation|_gt|_L|_P'
    r'|_gtFine_labelIds)$',
    re.IGNORECASE,
)
_IMAGE_ENDS = re.compile(r'(_leftImg8bit|_image|_img|_sat)$', re.IGNORECASE)
_TABLES = ('labelmap.txt', '_classes.csv', 'class_dict.csv', 'classes.txt',
           'codes.txt', 'labels.txt')  # fmt: skip
VOID = 255
# Modes of pictures with one number for each pixel; all others are coloured.
_PLAIN = ('1', 'LA', 'P', 'L', 'I', 'I;16', 'I;16B', 'I;16L')
_LOOK_AT = 500
# More different values are a photograph.
_MOST = 256


def is_masks(folder: Folder) -> bool:
    """Return whether most label maps of a folder have their image.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.masks import is_masks
        >>> is_masks(Folder(root))
        False
    """
    pairs, alone = _pairs(folder)
    return len(pairs) > len(alone)


def read_masks(folder: Folder) -> LabelledSet:
    """Read the pairs, and find out the classes from tables or from the maps.

    Args:
        folder: Of one of the layouts above.

    Raises:
        UserError: If there are no pairs, or the maps are no label maps.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.masks import read_masks
        >>> for folder, value in (('images', 90), ('masks', 0)):
        ...     (root / folder).mkdir()
        ...     Image.new('L', (20, 10), value).save(root / folder / 'a.png')
        >>> read_masks(Folder(root)).images[0].label_map.name
        'a.png'
    """
    pairs, alone = _pairs(folder)
    found = LabelledSet('masks', folder.root)
    found.left_out += [f'{name}: no image belongs to this label map' for name in alone]
    splits = _image_sets(folder)
    for image, label_map in pairs:
        try:
            size, other = (image_size(folder.path(one)) for one in (image, label_map))
            if size != other:
                raise UserError(
                    f'{label_map}: the label map has {other[0]} x {other[1]} pixels, '
                    f'its image {size[0]} x {size[1]}'
                )
        except UserError as error:
            found.left_out.append(str(error))
            continue
        split = splits.get(PurePosixPath(image).stem) or split_of(image)
        found.images.append(
            LabelledImage(
                folder.path(image), *size, split=split, label_map=folder.path(label_map)
            )
        )
    if not found.images:
        return found.checked()
    bare = set(folder.images) - {name for pair in pairs for name in pair} - {*alone}
    found.note_unused(sorted(bare), 'label map')
    _set_classes(folder, found)
    return found.checked()


def read_map(
    path: str | Path, colours: bool = False
) -> Integer[np.ndarray, 'height width *colours']:
    """Return the raw values of a label map: (height, width), or colours with 3 more.

    Args:
        path: The picture. A palette picture gives the numbers in it, not its colours.
        colours: Whether to return the colours of a palette picture all the same.

    Raises:
        UserError: If the file cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.masks import read_map
        >>> Image.new('L', (2, 1), 7).save(root / 'a.png')
        >>> read_map(root / 'a.png').tolist()
        [[7, 7]]
    """
    try:
        with Image.open(path) as picture:
            if picture.mode == 'P' and colours:
                return np.asarray(picture.convert('RGB'))
            if picture.mode in ('1', 'LA'):
                return np.asarray(picture.convert('L'))
            if picture.mode not in _PLAIN:
                return np.asarray(picture.convert('RGB'))
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'the label map {path} cannot be read ({error})') from error


def codes(
    raw: Integer[np.ndarray, 'height width *colours'],
) -> Int64[np.ndarray, 'height width']:
    """Return one number for each pixel: its value, or R * 65536 + G * 256 + B.

    Args:
        raw: As `read_map` returns it.

    Example:
        >>> import numpy as np
        >>> from paperzoo.data.formats.masks import codes
        >>> codes(np.array([[[1, 0, 2]]], np.uint8))
        array([[65538]])
    """
    if raw.ndim == 2:
        return raw.astype(np.int64)
    red, green, blue = np.moveaxis(raw.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def code_of(value: Value) -> int:
    """Return the number that `codes` gives to a value or colour.

    Example:
        >>> from paperzoo.data.formats.masks import code_of
        >>> code_of(7), code_of((1, 0, 2))
        (7, 65538)
    """
    if isinstance(value, int):
        return value
    red, green, blue = value
    return red << 16 | green << 8 | blue


def _pairs(folder: Folder) -> tuple[list[tuple[str, str]], list[str]]:
    """Return images with their label maps, and the label maps without an image."""
    images: dict[tuple[str, ...], str] = {}
    maps: dict[tuple[str, ...], str] = {}
    for one in folder.images:
        path = PurePosixPath(one)
        words = [part.lower() for part in path.parts[:-1]]
        in_maps = any(word in _MAP_FOLDERS for word in words)
        stem = _MAP_ENDS.sub('', path.stem)
        if in_maps or (stem != path.stem and not set(words) & set(_IMAGE_FOLDERS)):
            kept = [word for word in words if word not in _MAP_FOLDERS]
            # A map may lie among the images of its folder: images/a.png, a_mask.png.
            maps[(*_without_images(kept), stem)] = one
            if in_maps:
                maps.setdefault((*_without_images(kept), path.stem), one)
        elif 'segmentationobject' not in words:
            stem = _IMAGE_ENDS.sub('', path.stem)
            images[(*_without_images(words), stem)] = one
            images.setdefault((*_without_images(words), path.stem), one)
    pairs = {images[key]: one for key, one in maps.items() if key in images}
    alone = sorted(set(maps.values()) - set(pairs.values()))
    return sorted(pairs.items()), alone


def _without_images(words: Iterable[str]) -> list[str]:
    return [word for word in words if word not in _IMAGE_FOLDERS]


def _image_sets(folder: Folder) -> dict[str, str]:
    """Return the split of each image by VOC's lists of names."""
    found = {}
    for one in folder.ending('.txt'):
        path = PurePosixPath(one)
        if 'ImageSets' in path.parts and (split := split_of(path.name)):
            for line in folder.read_text(one).split('\n'):
                if name := line.strip():
                    found[PurePosixPath(name).name] = split
    return found


def _set_classes(folder: Folder, found: LabelledSet) -> None:
    """Find the raw value of each class, and what does not count."""
    maps = [one.label_map for one in found.images if one.label_map is not None]
    sample = maps[:: max(1, len(maps) // _LOOK_AT)]
    if len(sample) < len(maps):
        found.notes.append(
            f'{len(sample)} of {len(maps)} label maps were looked at for their classes'
        )
    coloured, values = _values(sample)
    table = _table(folder)
    names = [name for name, _ in table]
    told = [colour for _, colour in table]
    if table and coloured and all(isinstance(one, tuple) for one in told):
        known = {code_of(one) for one in told if one is not None}
        _refuse_unknown(values - known, coloured, 'is no colour of the table', sample)
        found.classes, found.pixel_values = tuple(names), tuple(told)
        found.palette = tuple(one for one in told if isinstance(one, tuple))
        return
    if table and not coloured:
        _set_named(found, table, values, sample)
    else:
        _set_by_value(found, values, coloured)
    found.palette = found.palette or _palette(sample[0], found.pixel_values)


def _set_named(
    found: LabelledSet,
    table: list[tuple[str, Value | None]],
    values: set[int],
    sample: list[Path],
) -> None:
    """The table's numbers are those of the maps; without them its order is."""
    told = [
        value if isinstance(value, int) else place
        for place, (_, value) in enumerate(table)
    ]
    found.classes, found.pixel_values = tuple(name for name, _ in table), tuple(told)
    found.ignored = (VOID,) if VOID not in told else ()
    extra = values - {*told, VOID}
    _refuse_unknown(extra, False, f'has no name: the table has {told}', sample)
    colours = [colour for _, colour in table if isinstance(colour, tuple)]
    found.palette = tuple(colours) if len(colours) == len(table) else ()


def _set_by_value(found: LabelledSet, values: set[int], coloured: bool) -> None:
    """Without a table every value is a class of its own."""
    ordered = sorted(values)
    if coloured:
        told = [(one >> 16, one >> 8 & 255, one & 255) for one in ordered]
        found.palette = found.pixel_values = tuple(told)
        found.classes = tuple(f'colour_{r}_{g}_{b}' for r, g, b in told)
    else:
        rest = [one for one in ordered if one != VOID]
        # 0, 1, 2 and 255: void, as most sets have it. 0 and 255: a mask of one class.
        if len(rest) > 1 and rest[-1] < 2 * len(rest) and VOID in values:
            found.ignored, ordered = (VOID,), rest
        found.pixel_values = tuple(ordered)
        found.classes = tuple(f'class_{one}' for one in ordered)
        if len(ordered) == 2 and ordered[0] == 0:
            found.classes = ('background', 'object')
    found.notes.append(
        'no table names the classes: they are called after their values in the label '
        f'maps ({", ".join(found.classes[:4])}, ...). Rename them in the config, or '
        'add a classes.txt'
    )


def _refuse_unknown(
    unknown: set[int], coloured: bool, why: str, sample: list[Path]
) -> None:
    if not unknown:
        return
    one = min(unknown)
    shown = (one >> 16, one >> 8 & 255, one & 255) if coloured else one
    place = next(
        path for path in sample if (codes(read_map(path, coloured)) == one).any()
    )
    raise UserError(
        f'{place}: the value {shown} {why}. Add it to the table, or mend the label maps'
    )


def _values(sample: list[Path]) -> tuple[bool, set[int]]:
    """Return whether the maps are coloured, and all values in them."""
    kinds: dict[bool, Path] = {}
    palettes = set()
    for path in sample:
        if suffix(path.name) in ('.jpg', '.jpeg'):
            raise UserError(
                f'{path}: a label map as JPEG has changed values. Save them as PNG'
            )
        mode, palette = _header(path)
        kinds.setdefault(mode not in _PLAIN, path)
        palettes.add(palette)
    if len(kinds) == 2:
        raise UserError(
            f'{kinds[True]} is coloured, {kinds[False]} is not: the label maps of a '
            'folder must be of one kind'
        )
    # Palettes made for each picture by itself give one colour different numbers.
    coloured = True in kinds or len(palettes) > 1
    values: set[int] = set()
    for path in sample:
        raw = read_map(path, coloured)
        # Plain values are sorted faster than as codes of 8 bytes.
        values |= set(np.unique(raw if raw.ndim == 2 else codes(raw)).tolist())
        if len(values) > _MOST:
            raise UserError(
                f'{path}: more than {_MOST} different values in the label maps: these '
                'look like photographs, or were smoothed when resized'
            )
    return coloured, values


def _header(path: Path) -> tuple[str, bytes | None]:
    """Return the mode of a picture, and its palette if it has one."""
    with Image.open(path) as picture:
        colours = picture.getpalette('RGB') if picture.mode == 'P' else None
        return picture.mode, None if colours is None else bytes(colours)


def _palette(path: Path, values: tuple[Value, ...]) -> tuple[tuple[int, int, int], ...]:
    """Return the colours that a palette picture gives the values, if it is one."""
    _, colours = _header(path)
    numbers = [one for one in values if isinstance(one, int)]
    if colours is None or max(numbers, default=0) >= len(colours) // 3:
        return ()
    rows = tuple(
        (colours[3 * one], colours[3 * one + 1], colours[3 * one + 2])
        for one in numbers
    )
    return rows if len(set(rows)) == len(rows) else ()


def _table(folder: Folder) -> list[tuple[str, Value | None]]:
    """Return the named classes, each with its value or colour if that is told."""
    for name in _TABLES:
        files = [one for one in folder.files if PurePosixPath(one).name == name]
        if files:
            file = min(files, key=lambda one: one.count('/'))
            text = folder.read_text(file)
            read = _read_csv if name.endswith('.csv') else _read_lines
            return read(text, folder.path(file))
    return []


def _read_lines(text: str, path: Path) -> list[tuple[str, Value | None]]:
    """Read one name a line, or CVAT's `name:r,g,b:parts:actions`."""
    rows: list[tuple[str, Value | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        name, _, rest = line.partition(':')
        colour = rest.split(':')[0].split(',')
        if path.name != 'labelmap.txt':
            rows.append((line, None))
            continue
        try:
            red, green, blue = map(int, colour)
        except ValueError:
            raise UserError(f'{path}, line {number}: no name:r,g,b') from None
        rows.append((name, (red, green, blue)))
    return rows


def _read_csv(text: str, path: Path) -> list[tuple[str, Value | None]]:
    """Read Roboflow's `Pixel Value, Class`, or `name, r, g, b`."""
    rows: list[tuple[str, Value | None]] = []
    table = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    for number, row in enumerate(table[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        try:
            if len(cells) == 2:
                rows.append((cells[1], int(cells[0])))
            else:
                red, green, blue = map(int, cells[1:4])
                rows.append((cells[0], (red, green, blue)))
        except ValueError:
            raise UserError(
                f'{path}, line {number}: neither value, name nor name, r, g, b'
            ) from None
    return rows
