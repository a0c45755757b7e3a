"""A look into COCO annotation files before mmdet drops silently what does not fit."""

import codecs
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset

from paperzoo.data.coco_api import NamedCOCO
from paperzoo.data.coco_files import categories_by_name, check_ids, parse
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.preflight.boxes import FLAT, OUTSIDE, box_flaw
from paperzoo.preflight.built_sets import check_built, unseen_classes
from paperzoo.preflight.coco_masks import Examples, check_masks, wants_masks
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import check_images, check_sizes
from paperzoo.preflight.issues import Example, Issue
from paperzoo.utils.wording import some

# Most of a file, and of the time to parse it; nothing here looks at them.
_POLYGONS = re.compile(rb'"segmentation":\s*\[[][\d.,eE+\-\s]*\]')
_LARGE = 100_000_000


@dataclass
class BoxCounts:
    """What mmdet would make of the boxes of a file.

    Args:
        kept: Boxes of the data set's classes that a training sees, crowds included.
        crowds: How many of them are crowds, which nothing is learned from.
        images: The ids of images with such boxes.
        categories: The ids of their categories.
        numberless: Ids of boxes with NaN or infinity.
        flat: Ids of boxes without area.
        outside: Ids of boxes that do not touch their image.
        beyond: Ids of boxes that reach out of their image by more than a pixel, the
            worst first.
        foreign: Annotations of an image that is not in the file.
        unknown: Annotations of a category that is not in the file.
        worded: Boxes whose iscrowd is a text, which is true for mmdet, also `'0'`.
    """

    kept: int = 0
    crowds: int = 0
    images: set[Any] = field(default_factory=set)
    categories: set[Any] = field(default_factory=set)
    numberless: list[Any] = field(default_factory=list)
    flat: list[Any] = field(default_factory=list)
    outside: list[Any] = field(default_factory=list)
    beyond: list[Any] = field(default_factory=list)
    foreign: list[Any] = field(default_factory=list)
    unknown: list[Any] = field(default_factory=list)
    worded: list[Any] = field(default_factory=list)


def reads_coco(data: DataSpec) -> bool:
    """Return whether a data set is read as mmdet reads COCO's boxes.

    Args:
        data: The data set.

    Example:
        >>> from mmdet.datasets import CocoDataset, VOCDataset
        >>> [reads_coco(DataSpec('', {}, built)) for built in (CocoDataset, VOCDataset)]
        [True, False]
    """
    built: Any = data.built
    return (
        isinstance(built, type)
        and issubclass(built, CocoDataset)
        and all(
            getattr(built, name) is getattr(CocoDataset, name)
            for name in ('load_data_list', 'parse_data_info', 'filter_data')
        )
    )


def check_coco(data: DataSpec, where: str) -> tuple[list[Issue], list[str] | None]:
    """Check classes, boxes and images of one data set.

    Args:
        data: The data set.
        where: The config's file.

    Returns:
        The issues, and the names of the classes by label, for a comparison.

    Example:
        >>> from mmdet.datasets import CocoDataset
        >>> data = DataSpec('train', {'ann_file': '/nowhere/a.json'}, CocoDataset)
        >>> issues, names = check_coco(data, 'my_config.py')
        >>> issues[0].text.partition('\\n')[0]
        "train.ann_file: there is no file '/nowhere/a.json'"
    """
    root, name = data.spec.get('data_root') or '', data.spec.get('ann_file') or ''
    own = data.built.__module__.startswith('paperzoo.')
    if own:
        root = ensure_generated(root)
    if '://' in f'{root} {name}' or not name:
        return [], None  # not on this machine
    file = Path(root, name)
    if not file.is_file():
        if own:
            return check_built(data), None  # it says what it looked for
        text = (
            f"{data.key}.ann_file: there is no file '{file}'\n  in {where}\n"
            f'  Put it there, or --cfg-options {data.key}.data_root=PATH'
        )
        return [Issue(text)], None
    # A test may be made for a server, which has the truth.
    hidden = data.key.startswith('test_')
    content = read_annotations(file, masks=wants_masks(data), hidden=hidden)
    if not isinstance(content, str) and not by_name(data) and _has_mark(file):
        content = (
            'begins with a byte order mark, which mmdet does not read. Save it as '
            'UTF-8 without one, or use paperzoo.CocoDataset.'
        )
    if isinstance(content, str):
        return [Issue(f'{data.key}.ann_file: {file} {content}')], None
    folder = Path(root, (data.spec.get('data_prefix') or {}).get('img', ''))
    try:
        return _check_content(data, content, file, folder)
    except UserError as error:
        return [Issue(f'{data.key}.ann_file: {error}')], None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        what = f'has no {error}' if missing else f'cannot be read ({error})'
        text = (
            f'{data.key}.ann_file: {file} is not in COCO format: an image, annotation '
            f'or category {what}\n  Export it in COCO format.'
        )
        return [Issue(text)], None


def _has_mark(file: Path) -> bool:
    with file.open('rb') as stream:
        start = stream.read(4)
    return start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _check_content(
    data: DataSpec, content: dict, file: Path, folder: Path
) -> tuple[list[Issue], list[str] | None]:
    check_ids(content, file)
    known, notes = categories_by_name(content, str(file))
    # mmdet's own class gives both categories a label.
    issues = [
        Issue(f'{data.key}.ann_file: {note}', stops=not by_name(data)) for note in notes
    ]
    named, names = _check_classes(data, content['categories'], file)
    issues += named
    if names is None:
        return issues, None
    counts = count_boxes(content, set(names), set(known.values()))
    issues += _box_issues(data, counts, file, _examples(content, folder))
    issues += _check_empty(data, content['images'], counts, file)
    if not data.spec.get('test_mode'):
        of = {one['id']: one['name'] for one in content['categories']}
        seen = {of[one] for one in counts.categories}
        issues += unseen_classes(data.key, names, seen)
    if wants_masks(data):
        issues += check_masks(data, content, file, _examples(content, folder))
    files = [folder / image['file_name'] for image in content['images']]
    sizes = [(image['width'], image['height']) for image in content['images']]
    key = f'{data.key}.data_prefix.img'
    issues += check_images(files, key)
    stated = list(zip(files, sizes, strict=True))
    return issues + check_sizes(stated, key, str(file)), names


def by_name(data: DataSpec) -> bool:
    """Return whether a data set finds its classes by name, in their own order.

    Args:
        data: The data set.

    Example:
        >>> from mmdet.datasets import CocoDataset
        >>> from paperzoo.data import coco
        >>> [by_name(DataSpec('', {}, one)) for one in (CocoDataset, coco.CocoDataset)]
        [False, True]
    """
    return issubclass(data.built.COCOAPI, NamedCOCO)


def read_annotations(
    file: Path, masks: bool = False, hidden: bool = False
) -> dict | str:
    """Return the content of an annotation file, or what is wrong with it.

    Args:
        file: In COCO format.
        masks: Whether polygons are looked at; else, and in very large files, they are
            left out.
        hidden: Whether the file may be without annotations.

    Example:
        >>> from paperzoo.utils.files import write_json
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = write_json(Path(folder, 'a.json'), {'images': []})
        ...     print(str(read_annotations(file)).partition('.')[0])
        has no 'annotations' and no 'categories'
    """
    wanted = ('images', 'annotations', 'categories')
    data = file.read_bytes()
    if not masks or len(data) > _LARGE:
        data = _POLYGONS.sub(b'"segmentation":0', data)
    try:
        content = parse(data, file)
    except UserError as error:
        return str(error).removeprefix(f'{file} ')
    if hidden:
        content.setdefault('annotations', [])
    missing = [name for name in wanted if name not in content]
    if missing:
        return (
            f'has no {" and no ".join(map(repr, missing))}. A training needs all of '
            f'{", ".join(wanted)}: is it a file without ground truth?'
        )
    return content


def _check_classes(
    data: DataSpec, categories: list[dict], file: Path
) -> tuple[list[Issue], list[str] | None]:
    """Return the issues and, if they do not stop, the class names by label."""
    classes = data.classes
    if classes is None:
        return [], None
    names = [one['name'] for one in categories]
    missing = [name for name in classes if name not in names]
    if by_name(data) and not missing:
        return [], list(classes)
    if by_name(data) and len(missing) < len(classes) and data.spec.get('test_mode'):
        shown = some(map(repr, missing))
        text = f'{data.key}: {file} has no category {shown}: no result for them'
        return [Issue(text, stops=False)], list(classes)
    if not missing:
        labels = [name for name in dict.fromkeys(names) if name in set(classes)]
        return _check_order(data, labels, classes, file), labels
    listed = some(map(repr, names), 12)
    if len(missing) == len(classes):
        what = 'none of its classes is a category of'
    else:
        shown = some(map(repr, missing))
        what = (
            f'{len(missing)} of its {len(classes)} classes ({shown}) are no category of'
        )
    own = ', '.join(map(repr, names))
    text = (
        f'{data.key}.metainfo.classes: {what} {file}\n'
        f'  The file has {len(names)}: {listed}. Without a match mmdet drops the boxes '
        'and moves the labels of the classes behind.\n'
        f'  Set metainfo=dict(classes=({own if len(names) <= 12 else "..."},)) in all '
        'data sets, and num_classes of the heads to their number.'
    )
    return [Issue(text)], None


def _check_order(
    data: DataSpec, labels: list[str], classes: list[str], file: Path
) -> list[Issue]:
    if labels == classes:
        return []
    pairs = zip(labels, classes, strict=False)
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if first is None:
        return []
    text = (
        f'{data.key}.metainfo.classes: label {labels.index(first[0])} is {first[0]!r} '
        f"in {file}, but {first[1]!r} in the class list: mmdet counts in the file's "
        'order, so pictures will show wrong names.\n'
        "  Write the classes in the file's order."
    )
    return [Issue(text, stops=False)]


def count_boxes(
    content: dict, names: set[str], kept: set[Any] | None = None
) -> BoxCounts:
    """Return what mmdet would make of the boxes.

    Args:
        content: Of the annotation file.
        names: Of the data set's classes.
        kept: Ids of the categories that have their name alone; None is all.

    Example:
        >>> flat = dict(id=7, image_id=1, category_id=1, bbox=[0, 0, 9, 0], area=0)
        >>> image = dict(id=1, width=10, height=10)
        >>> category = dict(id=1, name='cat')
        >>> content = dict(images=[image], annotations=[flat], categories=[category])
        >>> count_boxes(content, {'cat'}).flat
        [7]
    """
    counts = BoxCounts()
    listed = {one['id'] for one in content['categories']}
    known = {one['id'] for one in content['categories'] if one['name'] in names}
    known &= listed if kept is None else kept
    sizes = {one['id']: (one['width'], one['height']) for one in content['images']}
    for one in content['annotations']:
        if one['image_id'] not in sizes:
            counts.foreign.append(one.get('id'))
            continue
        if one['category_id'] not in listed:
            counts.unknown.append(one.get('id'))
        if one['category_id'] not in known or one.get('ignore'):
            continue
        if _sort_box(one, sizes[one['image_id']], counts):
            counts.kept += 1
            counts.crowds += bool(one.get('iscrowd'))
            if isinstance(one.get('iscrowd'), str):
                counts.worded.append(one.get('id'))
            counts.images.add(one['image_id'])
            counts.categories.add(one['category_id'])
    # The worst first.
    counts.beyond = [number for _, number in sorted(counts.beyond, key=_badness)]
    return counts


def _badness(pair: tuple[float, Any]) -> float:
    return -pair[0]


def _sort_box(one: dict, size: tuple, counts: BoxCounts) -> bool:
    """Note what is wrong with a box; return whether mmdet keeps it."""
    flaw, reach = box_flaw(one['bbox'], size)
    number = one.get('id')
    if not math.isfinite(sum(one['bbox']) + one['area']):
        counts.numberless.append(number)
    elif flaw == FLAT or one['area'] <= 0:
        counts.flat.append(number)
    elif flaw == OUTSIDE:
        counts.outside.append(number)
    else:
        if flaw:
            counts.beyond.append((reach, number))
        return True
    return False


def _examples(content: dict, folder: Path) -> Examples:
    """Return a function from ids of annotations to the images to look at."""

    def of(ids: list[Any], text: str) -> tuple[Example, ...]:
        worst = list(ids[:3])
        found = {}
        for one in content['annotations']:
            if one.get('id') in worst and one.get('id') is not None:
                found[one['id']] = one
        names = {one['id']: one['file_name'] for one in content['images']}
        return tuple(
            Example(
                folder / names[found[key]['image_id']],
                tuple(map(float, found[key]['bbox'])),
                f'annotation {key}: {text}',
            )
            for key in worst
            if key in found and found[key]['image_id'] in names
        )

    return of


def _box_issues(
    data: DataSpec,
    counts: BoxCounts,
    file: Path,
    examples: Examples,
) -> list[Issue]:
    drawn = {
        id(counts.flat): 'no area',
        id(counts.outside): 'outside of the image',
        id(counts.beyond): 'reaches out of the image',
        id(counts.unknown): 'of no category',
    }
    said = (
        (counts.numberless, 'boxes have NaN or infinity; mmdet drops them'),
        (counts.flat, 'boxes have no area or a side below 1 pixel; mmdet drops them'),
        (counts.outside, 'boxes lie outside of their image; mmdet drops them'),
        (counts.beyond, 'boxes reach out of their image by more than 1 pixel'),
        (counts.foreign, 'annotations belong to no image of the file'),
        (
            counts.unknown,
            'annotations are of a category_id that categories do not list',
        ),
        (
            counts.worded,
            'boxes have a text as iscrowd, which mmdet takes as a crowd, also "0". '
            'Write the number 0 or 1',
        ),
    )
    return [
        Issue(
            f'{data.key}.ann_file: {len(ids)} {what} (annotation ids '
            f'{some(ids, 3)})\n'
            f'  in {file}',
            stops=False,
            examples=examples(ids, drawn[id(ids)]) if id(ids) in drawn else (),
        )
        for ids, what in said
        if ids
    ]


def _check_empty(
    data: DataSpec, images: list[dict], counts: BoxCounts, file: Path
) -> list[Issue]:
    """Return an issue if no image is left, or none with a box."""
    limits = data.spec.get('filter_cfg') or {}
    testing = data.spec.get('test_mode', False)
    small = 0 if testing else limits.get('min_size', 0)
    left = [one for one in images if min(one['width'], one['height']) >= small]
    if not testing and limits.get('filter_empty_gt'):
        left = [one for one in left if one['id'] in counts.images]
    boxes = counts.kept - counts.crowds
    if left and (boxes or testing):
        return []
    crowds = f' and {counts.crowds} crowds' if counts.crowds else ''
    why = (
        f'{len(images)} images, {boxes} boxes{crowds} of the classes of this data set, '
        f'filter_cfg={dict(limits)}'
    )
    text = (
        f'{data.key}: no image{" with a box" if left else ""} is left to train on '
        f'({why})\n  in {file}\n'
        f'  Is it the right file? Or loosen --cfg-options {data.key}.filter_cfg.'
        'min_size=0'
    )
    # One of several may be there for its background only.
    return [Issue(text, stops='.datasets.' not in data.key)]
