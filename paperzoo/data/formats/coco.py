"""COCO: JSON files with images, annotations, categories; boxes, masks or panoptic.

| layout | who writes it |
| --- | --- |
| `annotations/instances_train2017.json`, `train2017/` | COCO |
| `annotations/instances_default.json`, `images/` | CVAT |
| `train/_annotations.coco.json` beside the images | Roboflow |

Classes go by their names, ids may be anything. A root category, which groups others and
labels nothing, is no class. All files are read, and an image that several name is taken
from one of them: the one that keeps it from the training, if there is one.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from paperzoo.data.formats.description import (
    LARGEST,
    LabelledImage,
    LabelledObject,
    LabelledSet,
    Mask,
    flaw_of,
)
from paperzoo.data.formats.folder import Folder, size_as_stated, split_of
from paperzoo.errors import UserError
from paperzoo.utils.masks import is_whole

# COCO's own files beside those of boxes; none of them is of use here.
_OTHERS = ('captions', 'person_keypoints', 'image_info', 'stuff')
_CROWDS = {'0': False, 'false': False, '1': True, 'true': True}


def is_coco(folder: Folder) -> bool:
    """Return whether a folder has JSON files as COCO's.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.coco import is_coco
        >>> _ = (root / 'a.json').write_text('{"images": [], "annotations": []}')
        >>> is_coco(Folder(root))
        True
    """
    return any(
        folder.keyed_json(one, 'images', 'annotations')
        for one in _candidates(folder)[:20]
    )


def read_coco(folder: Folder, panoptic: bool | None = None) -> LabelledSet:
    """Read images and objects, or segments.

    Args:
        folder: Of one of the layouts above.
        panoptic: Whether to read the panoptic files; None reads the others, unless
            there are only panoptic ones.

    Raises:
        UserError: If a file is not in COCO's format, or no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.coco import read_coco
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'a.json').write_text('''{
        ...     "images": [{"id": 1, "file_name": "a.png"}],
        ...     "annotations": [
        ...         {"image_id": 1, "category_id": 5, "bbox": [8, 3, 4, 4]}],
        ...     "categories": [{"id": 5, "name": "cat"}]}''')
        >>> read_coco(Folder(root)).images[0].objects[0].box
        (8.0, 3.0, 12.0, 7.0)
    """
    contents = dict(_contents(folder))
    kinds = {file: _is_panoptic(content) for file, content in contents.items()}
    if panoptic is None:
        panoptic = bool(kinds) and all(kinds.values())
    chosen = [file for file, kind in kinds.items() if kind == panoptic]
    if not chosen:
        what = 'panoptic' if panoptic else 'instance'
        raise UserError(f'{folder.root}: no {what} annotations in COCO format')
    found = LabelledSet('coco', folder.root)
    try:
        _read(folder, {file: contents[file] for file in chosen}, panoptic, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{folder.root}: {", ".join(chosen)}: not in COCO format ({error}). Export '
            'it again'
        ) from error
    if others := [file for file, kind in kinds.items() if kind != panoptic]:
        found.notes.append(f'not used: {", ".join(others)} (--task chooses)')
    return found.checked()


def _read(
    folder: Folder, contents: dict[str, dict], panoptic: bool, found: LabelledSet
) -> None:
    files = [
        _File(folder, file, contents[file], found)
        for file in sorted(contents, key=_order)
    ]
    files = _each_image_once(files, found)
    _set_classes(files, found, panoptic)
    for one in files:
        (_read_segments if panoptic else _read_objects)(one, found)
    _note_layout(files, found)


class _File:
    """One JSON file, and what of it can be used."""

    def __init__(
        self, folder: Folder, name: str, content: dict[str, Any], found: LabelledSet
    ) -> None:
        self.folder, self.name = folder, name
        self.path = folder.path(name)
        self.split = split_of(name)
        self.content = content
        self.categories: dict[Any, str] = {}
        self.images: dict[Any, LabelledImage] = {}
        self.elsewhere: set[Any] = set()
        self.prefixes: set[str | None] = set()
        self.clean = True
        self._ids: dict[str, Any] = {}
        for number, record in enumerate(self._records('images')):
            self._add_image(number, record, found)

    def _records(self, key: str) -> list[dict]:
        records = self.content.get(key)
        if not isinstance(records, list) or any(
            not isinstance(one, dict) for one in records
        ):
            raise UserError(f"{self.path}: '{key}' must be a list of objects")
        return records

    def _add_image(self, number: int, record: dict, found: LabelledSet) -> None:
        try:
            number, written = record['id'], str(record['file_name'])
        except KeyError as error:
            raise UserError(f'{self.path}: images[{number}] has no {error}') from None
        if number in self.images:
            raise UserError(f'{self.path}: two images have the id {number!r}')
        name = self.folder.image_of(written, self.name)
        place = f'{self.path}, image {number!r} ({written})'
        if name is None:
            found.left_out.append(f'{place}: it is not in the folder')
            self.clean = False
            return
        if name in self._ids:
            raise UserError(
                f'{self.path}: the images {self._ids[name]!r} and {number!r} are both '
                f'{name}. Keep one record of each image, with all its annotations'
            )
        self._ids[name] = number
        end = written.replace('\\', '/')
        self.prefixes.add(name.removesuffix(end) if name.endswith(end) else None)
        try:
            stated = (record.get('width'), record.get('height'))
            width, height = size_as_stated(
                self.folder.path(name), None if None in stated else stated, self.name
            )
        except UserError as error:
            found.left_out.append(f'{place}: {error}')
            self.clean = False
            return
        split = self.split or split_of(name)
        image = LabelledImage(self.folder.path(name), width, height, split=split)
        self.images[number] = image

    def annotations(self) -> list[dict]:
        """Return the annotations."""
        return self._records('annotations')

    def declared(self) -> list[dict]:
        """Return the categories, each with an id and a name."""
        records = self._records('categories')
        for number, one in enumerate(records):
            for key in ('id', 'name'):
                if one.get(key) in (None, ''):
                    raise UserError(
                        f'{self.path}: categories[{number}] has no {key!r}. Give it '
                        'one, or remove it'
                    )
        return records


def _candidates(folder: Folder) -> list[str]:
    return [
        one
        for one in folder.ending('.json')
        if not PurePosixPath(one).name.startswith(_OTHERS)
    ]


def _contents(folder: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in _candidates(folder):
        content = folder.read_json(file)
        if isinstance(content, dict) and {'images', 'annotations'} <= set(content):
            yield file, content


def _is_panoptic(content: dict[str, Any]) -> bool:
    return any(
        isinstance(one, dict) and 'segments_info' in one
        for one in content['annotations']
    )


def _order(file: str) -> tuple[int, str]:
    return ('train', '', 'val', 'test').index(split_of(file)), file


def _each_image_once(files: list[_File], found: LabelledSet) -> list[_File]:
    """Leave each image to one file; return the files that still have any."""
    owners: dict[Path, _File] = {}
    # What is checked with is never trained on.
    for split in ('val', 'test', 'train', ''):
        for one in files:
            for image in one.images.values():
                if image.split == split:
                    owners.setdefault(image.path, one)
    said = []
    for one in files:
        others = {
            number: (image, owners[image.path].name)
            for number, image in one.images.items()
            if owners[image.path] is not one
        }
        if not others:
            continue
        image, _ = next(iter(others.values()))
        names = ', '.join(dict.fromkeys(name for _, name in others.values()))
        said.append(
            f'{one.path}: {len(others)} of its {len(one.images)} images, such as '
            f'{image.path.name}, are in {names}, too, and are used as there'
        )
        one.elsewhere = set(others)
        one.images = {
            number: image
            for number, image in one.images.items()
            if number not in others
        }
        one.clean = False
    found.left_out[:0] = said  # what is true of whole files comes first
    return [one for one in files if one.images or not one.elsewhere]


def _set_classes(files: list[_File], found: LabelledSet, panoptic: bool) -> None:
    """Name the classes in the order of the files, without empty root categories."""
    names: dict[str, bool] = {}
    for one in files:
        records = one.declared()
        labelled = _used_categories(one, panoptic)
        groups = Counter(record.get('supercategory') for record in records)
        for record in records:
            number, name = record['id'], str(record['name'])
            before = one.categories.get(number, name)
            if before != name:
                raise UserError(
                    f'{one.path}: the categories {before!r} and {name!r} both have the '
                    f'id {number!r}. Give each its own'
                )
            members = groups[name] - (record.get('supercategory') == name)
            if number not in labelled and members:
                found.notes.append(
                    f'{one.name}: the category {name!r} (id {number}) only groups '
                    'others and labels nothing: it is no class'
                )
                continue
            if name in one.categories.values():
                found.notes.append(
                    f'{one.name}: two categories are named {name!r}; they are one class'
                )
            one.categories[number] = name
            thing = record.get('isthing')
            if panoptic and thing not in (0, 1):
                raise UserError(
                    f"{one.path}: category {name!r} needs 'isthing', 1 for things that "
                    'are counted or 0 for stuff'
                )
            names.setdefault(name, bool(thing))
    found.classes = tuple(names)
    if panoptic:
        found.things = tuple(name for name, thing in names.items() if thing)
        if tuple(names)[: len(found.things)] != found.things:
            raise UserError(
                f'{files[0].path}: the categories must list all things (isthing 1) '
                'before all stuff (isthing 0): mmdet takes labels in this order'
            )
    for one in files:
        kept = list(dict.fromkeys(one.categories.values()))
        same = len(kept) == len(one.categories) == len(one.declared())
        one.clean &= all(isinstance(each['name'], str) for each in one.declared())
        one.clean &= kept == list(names) and (same or _apart(one))


def _apart(one: _File) -> bool:
    """Return whether every category that is no class has a name of its own."""
    names = Counter(str(record['name']) for record in one.declared())
    return all(names[name] == 1 for name in one.categories.values())


def _used_categories(one: _File, panoptic: bool) -> set[Any]:
    if not panoptic:
        return {record.get('category_id') for record in one.annotations()}
    return {
        info.get('category_id')
        for record in one.annotations()
        for info in record.get('segments_info', [])
    }


def _read_objects(one: _File, found: LabelledSet) -> None:
    ids: set[Any] = set()
    for number, record in enumerate(one.annotations()):
        key = record.get('id', number)
        # mmdet refuses or miscounts these; here each object stands for itself.
        if key in ids or not isinstance(key, int) or isinstance(key, bool) or key < 1:
            one.clean = False
        ids.add(key)
        place = f'{one.path}, annotation {key!r}'
        if record.get('image_id') in one.elsewhere:
            continue
        image = one.images.get(record.get('image_id'))
        if image is None:
            found.left_out.append(
                f'{place}: no image {record.get("image_id")!r} that can be used'
            )
            one.clean = False
            continue
        flaw = _add_object(one, record, image)
        if flaw:
            found.left_out.append(f'{place}: {flaw}')
        one.clean &= not (flaw or _stock_flaw(record))
    found.images += one.images.values()


def _add_object(one: _File, record: dict, image: LabelledImage) -> str:
    """Add an object to its image; return what is wrong with it, or `''`."""
    name = one.categories.get(record.get('category_id'))
    if name is None:
        return f'no category has the id {record.get("category_id")!r}'
    try:
        left, top, width, height = map(float, record['bbox'])
    except (KeyError, TypeError, ValueError, OverflowError):
        return f'bbox is {record.get("bbox")!r}, not left, top, width, height'
    box = (left, top, left + width, top + height)
    if flaw := flaw_of(box, image.width, image.height):
        return flaw
    mask = _mask(record.get('segmentation'), image)
    if isinstance(mask, str):
        return mask
    written = record.get('iscrowd')
    word = '0' if written is None else str(written).strip().lower()
    crowd = _CROWDS.get(word.removesuffix('.0'))
    if crowd is None:
        return f'iscrowd is {written!r}, neither 0 nor 1'
    image.objects.append(LabelledObject(name, box, mask, crowd))
    return ''


def _stock_flaw(record: dict) -> str:
    """Return why mmdet drops or misreads an object that is right, or `''`."""
    if 'area' not in record:
        return "it has no 'area'"
    area = record['area']
    if not isinstance(area, int | float) or not area > 0:
        return f'area is {area!r}, no number above 0'
    if isinstance(record.get('iscrowd'), str):
        return f'iscrowd is the text {record["iscrowd"]!r}, no number'
    if min(map(float, record['bbox'][2:])) < 1:
        return 'a side of bbox is below 1 pixel'
    return ''


def _mask(written: Any, image: LabelledImage) -> Mask | str | None:
    """Return polygons or run lengths, None for none, or what is wrong with them."""
    if not written:
        return None
    if isinstance(written, dict):
        size = written.get('size')
        if not isinstance(written.get('counts'), list | str):
            return 'segmentation has no counts'
        if size != [image.height, image.width]:
            return (
                f'the mask has {size} pixels (height, width), the image '
                f'{[image.height, image.width]}'
            )
        if not is_whole(written):
            return 'the run lengths of the mask do not cover its size'
        return written
    if not isinstance(written, list) or not all(
        isinstance(part, list)
        and all(isinstance(side, int | float) and abs(side) < LARGEST for side in part)
        for part in written
    ):
        return 'segmentation is neither polygons nor run lengths'
    kept = [part for part in written if len(part) >= 6 and len(part) % 2 == 0]
    return kept or None


def _read_segments(one: _File, found: LabelledSet) -> None:
    maps = set(one.folder.ending('.png'))
    bare = dict(one.images)
    flaws = []
    for record in one.annotations():
        number = record.get('image_id')
        if number in one.elsewhere:
            continue
        bare.pop(number, None)
        image = one.images.get(number)
        written = str(record.get('file_name', ''))
        place = f'{one.path}, image {number!r}'
        name = one.folder.image_of(written, one.name)
        if image is None or name not in maps:
            what = 'image' if image is None else f'PNG {written!r}'
            flaws.append(f'{place}: its {what} is not in the folder')
            continue
        image.label_map = one.folder.path(name)
        for info in record['segments_info']:
            # There is no other class than mmdet's to read them.
            if flaw := _add_object(one, info, image) or _stock_flaw(info):
                flaws.append(f'{place}, segment {info.get("id")!r}: {flaw}')
    flaws += [
        f'{one.path}, image {number!r}: no annotation is of it' for number in bare
    ]
    found.left_out += flaws
    one.clean &= not flaws
    found.images += [image for image in one.images.values() if image.label_map]


def _note_layout(files: list[_File], found: LabelledSet) -> None:
    """Note the files of each split, if mmdet's classes can read them as they are."""
    by_split: dict[str, tuple[str, ...]] = {}
    for one in files:
        if not one.clean or len(one.prefixes) != 1 or None in one.prefixes:
            return
        # These classes read one file for each split, and all of it.
        split = one.split or 'train'
        inside = {image.split or 'train' for image in one.images.values()}
        if split in by_split or inside != {split}:
            return
        (prefix,) = one.prefixes
        maps = {
            image.label_map.parent.relative_to(found.root).as_posix() + '/'
            for image in one.images.values()
            if image.label_map is not None
        }
        if found.things is not None and len(maps) != 1:
            return
        by_split[split] = (one.name, str(prefix), *maps)
    found.files = by_split
