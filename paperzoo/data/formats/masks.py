"""Images and label maps: a picture of equal size that gives every pixel its class.

A label map is a palette picture, grey, 16 bit, or coloured; what its values mean is
told by a table (`mask_tables.py`), or by the values themselves. Colours of a table are
looked for in palettes too; grey colours are numbers.

| layout | who writes it |
| --- | --- |
| `images/train/a.jpg`, `masks/train/a.png` (or the split first) | most |
| `JPEGImages`, `SegmentationClass`, `ImageSets`, `labelmap.txt` | VOC, CVAT |
| `train/a.jpg`, `train/a_mask.png`, `_classes.csv` | Roboflow |
"""

import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64, Integer
from PIL import Image, ImageOps

from paperzoo.data.formats.description import LabelledImage, LabelledSet
from paperzoo.data.formats.folder import (
    Folder,
    image_size,
    listed_name,
    orientation_of,
    split_of,
    suffix,
)
from paperzoo.data.formats.mask_tables import Colour, Value, read_table
from paperzoo.errors import UserError

Key = tuple[str, ...]

_IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'rgb')
_MAP_FOLDERS = (
    'masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'ann_dir', 'gt',
    'segmentationclass', 'segmentation', 'seg', 'labelids', 'ground_truth', 'targets',
)  # fmt: skip
_MAP_ENDS = re.compile(
    r'(_mask|_masks|_label|_labels|_labelids|_seg|_segmentation|_gt|(?-i:_L|_P)'
    r'|_gtFine_labelIds)$',
    re.IGNORECASE,
)
_IMAGE_ENDS = re.compile(r'(_leftImg8bit|_image|_img|_sat)$', re.IGNORECASE)
VOID = 255
# What stands for void where numbers have a sign, or 16 bits.
_WIDE_VOIDS = {-1, 65535}
# Modes of pictures with one number for each pixel; all others are coloured.
_PLAIN = ('1', 'LA', 'P', 'L', 'I', 'I;16', 'I;16B', 'I;16L', 'F')
_WIDE = ('I', 'I;16', 'I;16B', 'I;16L', 'F')
_LOOK_AT = 500
# More different values are a photograph.
_MOST = 256
# So many values without an area are not those of classes that are thin.
_THIN = 4


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
    pairs, alone, _ = _pairs(folder)
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
    pairs, alone, more = _pairs(folder)
    found = LabelledSet('masks', folder.root)
    found.left_out += [f'{name}: no image belongs to this label map' for name in alone]
    found.left_out += [
        f'{name}: its image has another label map, {other}'
        for name, other in more.items()
    ]
    splits = _image_sets(folder)
    for image, label_map in pairs:
        try:
            size = _common_size(folder, image, label_map)
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
    paired = {name for pair in pairs for name in pair}
    bare = set(folder.images) - paired - {*alone, *more}
    found.note_unused(sorted(bare), 'label map')
    _set_classes(folder, found)
    return found.checked()


def read_map(
    path: str | Path, colours: bool = False
) -> Integer[np.ndarray, 'height width *colours']:
    """Return the raw values of a label map: (height, width), or colours with 3 more.

    It is turned by its EXIF orientation, as OpenCV turns images.

    Args:
        path: The picture. A palette picture gives the numbers in it, not its colours; a
            coloured one whose colours are all grey gives the numbers of the greys.
        colours: Whether to return the colours all the same; numbers of more than 8 bits
            have none.

    Raises:
        UserError: If the file cannot be read, or holds fractions.

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
            ImageOps.exif_transpose(picture, in_place=True)
            mode = picture.mode
            if mode not in _PLAIN or (colours and mode not in _WIDE):
                raw = np.asarray(picture.convert('RGB'))
            else:
                bare = picture.convert('L') if mode in ('1', 'LA') else picture
                raw = np.asarray(bare)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'the label map {path} cannot be read ({error})') from error
    if mode == 'F':
        whole = np.isfinite(raw) & (raw == raw.round())
        if not whole.all():
            raise UserError(
                f'{path}: the label map holds fractions such as {raw[~whole][0]:g}. '
                'Save it with the whole number of a class for each pixel'
            )
        return raw.astype(np.int64)
    if raw.ndim == 3 and not colours and (raw == raw[..., :1]).all():
        return raw[..., 0]
    return raw


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


def _pairs(
    folder: Folder,
) -> tuple[list[tuple[str, str]], list[str], dict[str, str]]:
    """Return images with their label maps, maps without an image, and second maps.

    Second maps are given with the map that their image has.
    """
    # By the whole stem first, then by the stem without its end.
    images: tuple[dict[Key, str], ...] = ({}, {})
    maps: tuple[list[tuple[Key, str]], ...] = ([], [])
    for one in folder.images:
        path = PurePosixPath(one)
        words = [part.lower() for part in path.parts[:-1]]
        in_maps = any(word in _MAP_FOLDERS for word in words)
        stem = _MAP_ENDS.sub('', path.stem)
        if in_maps or (stem != path.stem and not set(words) & set(_IMAGE_FOLDERS)):
            kept = [word for word in words if word not in _MAP_FOLDERS]
            # A map may lie among the images of its folder: images/a.png, a_mask.png.
            place = _without_images(kept)
            for listed, name in zip(maps, (path.stem, stem), strict=True):
                listed.append(((*place, name), one))
        elif 'segmentationobject' not in words:
            place = _without_images(words)
            stem = _IMAGE_ENDS.sub('', path.stem)
            for known, name in zip(images, (path.stem, stem), strict=True):
                known.setdefault((*place, name), one)
    fitting = [
        (known[key], one)
        for known, listed in product(images, maps)
        for key, one in listed
        if key in known
    ]
    pairs: dict[str, str] = {}
    used = set()
    # plant_p.png belongs to plant_p.jpg, and to plant.jpg only where that is not there.
    for image, one in fitting:
        if image not in pairs and one not in used:
            pairs[image] = one
            used.add(one)
    more = {one: pairs[image] for image, one in fitting if one not in used}
    alone = sorted({one for _, one in maps[0]} - used - {*more})
    return sorted(pairs.items()), alone, more


def _common_size(folder: Folder, image: str, label_map: str) -> tuple[int, int]:
    """Return the size of an image and its label map, if they show the same."""
    size, other = (image_size(folder.path(one)) for one in (image, label_map))
    orientation = _orientation(folder.path(image))
    if size != other:
        text = (
            f'{label_map}: the label map has {other[0]} x {other[1]} pixels, its image '
            f'{size[0]} x {size[1]}'
        )
        if other == size[::-1] and orientation != 1:
            text += (
                ', turned by its EXIF orientation. Save the image without an '
                'orientation, its pixels as those of the label map lie'
            )
        raise UserError(text)
    # From 5 on width and height change places: then the size tells, but of a square.
    unclear = orientation in range(2, 5) or (orientation > 4 and size[0] == size[1])
    if unclear and _orientation(folder.path(label_map)) == 1:
        raise UserError(
            f'{image}: an EXIF orientation turns the image, and nothing tells whether '
            f'{label_map} is turned already. Save the image without an orientation, '
            'its pixels as those of the label map lie'
        )
    return size


def _orientation(path: Path) -> int:
    """Return the EXIF orientation of a picture; 1 is upright."""
    with Image.open(path) as picture:
        return orientation_of(picture, path)


def _without_images(words: Iterable[str]) -> list[str]:
    return [word for word in words if word not in _IMAGE_FOLDERS]


def _image_sets(folder: Folder) -> dict[str, str]:
    """Return the split of each image by VOC's lists of names."""
    found = {}
    for one in folder.ending('.txt'):
        path = PurePosixPath(one)
        if 'ImageSets' in path.parts and (split := split_of(path.name)):
            for line in folder.read_text(one).split('\n'):
                if name := listed_name(line):
                    found[name] = split
    return found


def _set_classes(folder: Folder, found: LabelledSet) -> None:
    """Find the raw value of each class, and what does not count."""
    maps = [one.label_map for one in found.images if one.label_map is not None]
    sample = maps[:: max(1, len(maps) // _LOOK_AT)]
    if len(sample) < len(maps):
        found.notes.append(
            f'{len(sample)} of {len(maps)} label maps were looked at for their classes'
        )
    table, file = read_table(folder)
    told = tuple(colour for _, colour in table if isinstance(colour, tuple))
    known = {code_of(one) for one in told} if len(told) == len(table) else set()
    coloured, values, void = _values(sample, known)
    if known and coloured:
        extra = values - known - void
        _refuse_unknown(extra, coloured, 'is no colour of the table', sample)
        found.classes = tuple(name for name, _ in table)
        found.pixel_values = found.palette = told
        found.ignored = tuple(map(_colour_of, sorted(values & void)))
    elif table and not coloured:
        _set_named(found, table, file, values, sample)
    else:
        _set_by_value(found, values, coloured, file, sample)
    if len(found.classes) > VOID:
        raise UserError(
            f'{folder.root}: {len(found.classes)} classes. Label maps are learned with '
            f'{VOID} at most'
        )
    found.palette = found.palette or _palette(sample[0], found.pixel_values)


def _set_named(
    found: LabelledSet,
    table: list[tuple[str, Value | None]],
    file: str,
    values: set[int],
    sample: list[Path],
) -> None:
    """The table's numbers are those of the maps; without them its order is."""
    colours = [one for _, one in table if isinstance(one, tuple)]
    numbers = [one for _, one in table if isinstance(one, int)]
    if len(colours) == len(table) and all(len(set(one)) == 1 for one in colours):
        numbers = [one[0] for one in colours]
    counted = len(numbers) == len(table)
    told = numbers if counted else list(range(len(table)))
    if not counted and len(told) == 2 and values == {0, VOID}:
        told = [0, VOID]  # a mask of one class, not one with void
    if colours and not counted:
        found.notes.append(
            f'{file} tells colours, but the label maps have numbers: they are taken '
            f'for the rows of the table, {told[0]} for {table[0][0]}'
        )
    found.classes, found.pixel_values = tuple(name for name, _ in table), tuple(told)
    # Beside a single class it is another one, which has no name.
    void = {VOID} if len(told) > 1 else set()
    void |= _WIDE_VOIDS & values
    _ignore(found, void - {*told})
    extra = values - {*told} - void
    if extra and not counted:
        _refuse_smoothed(values, sample)
    _refuse_unknown(extra, False, f'has no name: {file} has {told}', sample)
    found.palette = tuple(colours) if len(colours) == len(table) else ()


def _set_by_value(
    found: LabelledSet,
    values: set[int],
    coloured: bool,
    file: str,
    sample: list[Path],
) -> None:
    """Without a table every value is a class of its own."""
    ordered = sorted(values)
    if coloured:
        remedy = 'class_dict.csv (name, r, g, b)'
        told = tuple(map(_colour_of, ordered))
        found.palette = found.pixel_values = told
        found.classes = tuple(f'colour_{r}_{g}_{b}' for r, g, b in told)
    else:
        void = {-1} & values
        rest = values - void - {VOID}
        # 65535 beside several values. It and 0 alone: a mask of one class.
        if len(rest - {65535}) > 1:
            void |= {65535} & rest
            rest -= void
        # 0, 1, 2 and 255: void, as most sets have it. 0 and 255: a mask of one class.
        if len(rest) > 1 and max(rest) < 2 * len(rest) and VOID in values:
            void.add(VOID)
        ordered = sorted(values - void)
        below = {one for one in ordered if one < 0}
        _refuse_unknown(below, False, 'is no class', sample)
        _refuse_smoothed(values, sample)
        _ignore(found, void)
        in_order = ordered == list(range(len(ordered)))
        remedy = 'classes.txt' if in_order else '_classes.csv (Pixel Value, Class)'
        found.pixel_values = tuple(ordered)
        found.classes = tuple(f'class_{one}' for one in ordered)
        if len(ordered) == 2 and ordered[0] == 0:
            found.classes = ('background', 'object')
    why = f'{file} has no colours' if file else 'no table names the classes'
    found.notes.append(
        f'{why}: they are called after their values in the label maps '
        f'({", ".join(found.classes[:4])}, ...). Rename them in the config, or '
        f'add a {remedy}'
    )


def _ignore(found: LabelledSet, void: set[int]) -> None:
    """Let values not count; say so of those that are no custom."""
    found.ignored = tuple(sorted(void))
    found.notes += [
        f'pixels of the value {one} in the label maps do not count'
        for one in sorted(void & _WIDE_VOIDS)
    ]


def _refuse_smoothed(values: set[int], sample: list[Path]) -> None:
    """Refuse values most of which have no area: those of maps that were resized.

    A class has somewhere two by two pixels of its own. What interpolation puts between
    two classes lies in a line along their edge, and each value of it in few pixels.
    """
    thin = set(values)
    for path in sample:
        raw = read_map(path)
        whole = raw[1:, 1:] == raw[:-1, :-1]
        whole &= (raw[1:, 1:] == raw[1:, :-1]) & (raw[1:, 1:] == raw[:-1, 1:])
        thin -= set(np.unique(raw[1:, 1:][whole]).tolist())
        if len(thin) < _THIN or 2 * len(thin) <= len(values):
            return
    raise UserError(
        f'{sample[0].parent}: {len(thin)} of {len(values)} values in the label maps, '
        f'such as {min(thin)}, lie on edges only, as after resizing with '
        'interpolation. Resize with nearest neighbour, and save as PNG; if each value '
        'is a class, name them in a _classes.csv (Pixel Value, Class)'
    )


def _colour_of(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def _refuse_unknown(
    unknown: set[int], coloured: bool, why: str, sample: list[Path]
) -> None:
    if not unknown:
        return
    one = min(unknown)
    shown = _colour_of(one) if coloured else one
    place = next(
        path for path in sample if (codes(read_map(path, coloured)) == one).any()
    )
    raise UserError(
        f'{place}: the value {shown} {why}. Add it to the table, or mend the label maps'
    )


def _values(sample: list[Path], known: set[int]) -> tuple[bool, set[int], set[int]]:
    """Return whether the maps are coloured, all values, and colours that are void.

    `known` are the colours of the table.
    """
    headers = {}
    for path in sample:
        if suffix(path.name) in ('.jpg', '.jpeg'):
            raise UserError(
                f'{path}: a label map as JPEG has changed values. Save them as PNG'
            )
        headers[path] = _header(path)
    coloured = [path for path, (mode, _) in headers.items() if mode not in _PLAIN]
    indexed = [path for path, (_, palette) in headers.items() if palette]
    palettes = sorted({one for _, one in headers.values() if one}, key=len)
    # Palettes made for each picture by itself give one colour different numbers.
    apart = not all(palettes[-1].startswith(one) for one in palettes)
    shown = coloured or (indexed if apart or known else [])
    if shown:
        values = _seen(shown, colours=True)
        found = map(_void, palettes)
        void = {one for one in found if one is not None} - known
        if coloured:
            grey = all(len(set(_colour_of(one))) == 1 for one in values)
            numbers = grey and not values <= known
        else:
            # Colours of a palette that has none of the table's are for show.
            numbers = not apart and not values & known
        if not numbers and len(shown) < len(sample):
            other = next(path for path in sample if path not in shown)
            raise UserError(
                f'{shown[0]} is coloured, {other} is not: the label maps of a folder '
                'must be of one kind'
            )
        if not numbers:
            return True, values, void
    return False, _seen(sample, colours=False), set()


def _seen(sample: list[Path], colours: bool) -> set[int]:
    """Return all values or colours in some maps, as `codes` has them."""
    values: set[int] = set()
    for path in sample:
        raw = read_map(path, colours)
        # Plain values are sorted faster than as codes of 8 bytes.
        values |= set(np.unique(raw if raw.ndim == 2 else codes(raw)).tolist())
        if len(values) > _MOST:
            raise UserError(
                f'{path}: more than {_MOST} different values in the label maps: these '
                'look like photographs, or were smoothed when resized'
            )
    return values


def _header(path: Path) -> tuple[str, bytes]:
    """Return the mode of a picture, and its palette if it has one that is no ramp."""
    with Image.open(path) as picture:
        if picture.mode != 'P':
            return picture.mode, b''
        colours = bytes(picture.getpalette('RGB') or ())
        ramp = np.arange(len(colours) // 3, dtype=np.uint8).repeat(3).tobytes()
        return picture.mode, b'' if colours == ramp and len(colours) > 3 else colours


def _void(palette: bytes) -> int | None:
    """Return the colour of number 255, if no other number has it."""
    rows = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    if len(rows) <= VOID or (rows[:VOID] == rows[VOID]).all(1).any():
        return None
    return int(codes(rows[None, VOID:])[0, 0])


def _palette(path: Path, values: tuple[Value, ...]) -> tuple[Colour, ...]:
    """Return the colours that a palette picture gives the values, if it is one."""
    _, colours = _header(path)
    numbers = [one for one in values if isinstance(one, int)]
    if max(numbers, default=0) >= len(colours) // 3:
        return ()
    rows = tuple(
        (colours[3 * one], colours[3 * one + 1], colours[3 * one + 2])
        for one in numbers
    )
    return rows if len(set(rows)) == len(rows) else ()
