"""What a data set says of itself when it is built: of any type, where mmengine's is."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from paperzoo.errors import UserError
from paperzoo.preflight.boxes import BEYOND, FLAT, OUTSIDE, apart, box_flaw
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import check_images, check_sizes, evenly_spaced
from paperzoo.preflight.issues import Example, Issue
from paperzoo.utils.wording import some


def check_built(data: DataSpec) -> list[Issue]:
    """Build a data set without its pipeline and ask it.

    Args:
        data: The data set.

    Example:
        >>> from paperzoo.data.coco import CocoDataset
        >>> spec = {'data_root': '/nowhere', 'ann_file': 'a.json'}
        >>> (issue,) = check_built(DataSpec('train', spec, CocoDataset))
        >>> issue.text.partition(' (')[0]
        "train: data set not found: data_root='/nowhere'"
    """
    if '://' in f'{data.spec.get("data_root")} {data.spec.get("ann_file")}':
        return []  # not on this machine
    dataset, issues = build_bare(data)
    if dataset is None:
        return issues
    total = len(dataset)
    if total == 0:
        text = (
            f'{data.key}: the data set is empty\n'
            '  Are ann_file, data_prefix and filter_cfg right?'
        )
        return [Issue(text, stops='.datasets.' not in data.key)]
    if not isinstance(dataset, BaseDataset):
        return []  # it looks at its files itself
    if _is_panoptic(dataset):
        from paperzoo.preflight.panoptic_files import check_panoptic

        return check_panoptic(dataset, data.key)
    infos = [dataset.get_data_info(k) for k in evenly_spaced(range(total), 200)]
    return [*_image_issues(infos, data.key), *_label_issues(dataset, data)]


def build_bare(data: DataSpec) -> tuple[Any, list[Issue]]:
    """Return a data set without its pipeline, or None and what it says of itself.

    Args:
        data: The data set.

    Example:
        >>> build_bare(DataSpec('train', {'times': 2}, len))  # of an unknown kind
        (None, [])
    """
    spec = data.arguments
    if isinstance(data.built, type) and issubclass(data.built, BaseDataset):
        # mmengine cannot serialize an empty list.
        spec |= {'serialize_data': False, 'lazy_init': False, 'pipeline': []}
    try:
        dataset = data.built(**spec)
        len(dataset)
    except (UserError, FileNotFoundError) as error:
        return None, [Issue(f'{data.key}: {error}')]
    except Exception:
        return None, []  # a class of its own kind, whatever it needs
    return dataset, []


def _is_panoptic(dataset: BaseDataset) -> bool:
    try:
        from mmdet.datasets import CocoPanopticDataset
    except ModuleNotFoundError:
        return False
    return isinstance(dataset, CocoPanopticDataset)


def _image_issues(infos: list[dict], key: str) -> Iterator[Issue]:
    files = [Path(info['img_path']) for info in infos if info.get('img_path')]
    yield from check_images(files, f'{key}.data_prefix')
    stated = [
        (Path(info['img_path']), (info['width'], info['height']))
        for info in infos
        if info.get('img_path') and info.get('width') and info.get('height')
    ]
    yield from check_sizes(stated, f'{key}.data_prefix', 'the annotation')


def _label_issues(dataset: Any, data: DataSpec) -> Iterator[Issue]:
    """Yield what is wrong with the labels of objects, where there are any."""
    if 'instances' not in dataset.get_data_info(0):
        return
    from paperzoo.preflight.coco_masks import wants_masks  # a set of mmdet's

    classes = list(dataset.metainfo.get('classes') or ())
    labels: Counter[int] = Counter()
    masks = wants_masks(data)
    flaws: dict[str, list[Example]] = {}
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        labels.update(one.get('bbox_label', 0) for one in info['instances'])
        for flaw, example in _flaws(info, masks):
            flaws.setdefault(flaw, []).append(example)
    yield from _name_issues(dataset, data, classes)
    training = not data.spec.get('test_mode')
    if not labels and training:
        yield Issue(
            f'{data.key}: none of {len(dataset)} images has an object of the classes '
            f'{classes[:5]}\n  Are metainfo.classes the names in the annotations?',
            stops='.datasets.' not in data.key,
        )
    elif classes and (beyond := [one for one in labels if one >= len(classes)]):
        yield Issue(
            f'{data.key}: objects have the label {max(beyond)}, but there are '
            f'{len(classes)} classes\n  Correct metainfo.classes.'
        )
    elif training:
        seen = {classes[one] for one in labels if one < len(classes)}
        yield from unseen_classes(data.key, classes, seen)
    total = labels.total()
    for flaw, examples in flaws.items():
        shown = some([f'{one.file.name}: {one.text}' for one in examples], 3)
        yield Issue(
            f'{data.key}: {len(examples)} of {total} objects {_FLAWS[flaw]}\n'
            f'  {shown}\n'
            '  Are they in pixels, of the images as they are?',
            stops=flaw != BEYOND and 2 * len(examples) > total,
            examples=tuple(examples[:3]),
        )


def unseen_classes(key: str, classes: Sequence[str], seen: Set[str]) -> list[Issue]:
    """Return an issue if the training has no object of some classes.

    Args:
        key: Of the data set.
        classes: All names.
        seen: Those of the objects.

    Example:
        >>> (issue,) = unseen_classes('train', ['cat', 'dog'], {'cat'})
        >>> issue.text
        "train: no object of 'dog', which is never learned"
    """
    missing = [name for name in classes if name not in seen]
    if not missing or not seen:
        return []
    shown = some(map(repr, missing))
    return [Issue(f'{key}: no object of {shown}, which is never learned', stops=False)]


def _name_issues(
    dataset: Any, data: DataSpec, classes: Sequence[str]
) -> Iterator[Issue]:
    """Yield where the names of a labelled folder and of the config are not the same."""
    names = getattr(dataset, 'folder_classes', ())
    missing = [name for name in classes if names and name not in names]
    if missing:
        testing = data.spec.get('test_mode', False)
        yield Issue(
            f'{data.key}.metainfo.classes: {some(map(repr, missing))}: no class of '
            f'{dataset.data_root}\n  It has {len(names)}: '
            f'{some(map(repr, names), 12)}. Set metainfo=dict(classes=...) to them.',
            stops=not testing or len(missing) == len(classes),
        )
    if left_out := getattr(dataset, 'left_out', []):
        shown = '\n'.join(f'  {one}' for one in left_out[:3])
        yield Issue(
            f'{data.key}: {len(left_out)} labels or images of {dataset.data_root} are '
            f'left out, such as\n{shown}',
            stops=False,
        )
    if others := getattr(dataset, 'other_names', {}):
        shown = some([f'{count} of {name!r}' for name, count in others.items()])
        yield Issue(
            f'{data.key}: objects of other names are left out: {shown}\n'
            '  metainfo.classes does not name them.',
            stops=False,
        )


_FLAWS = {
    FLAT: 'have a box with a side below 1 pixel',
    OUTSIDE: 'have a box outside of their image',
    BEYOND: 'have a box that reaches out of their image by more than 1 pixel',
    'apart': 'have a mask that does not touch their box',
}


def _flaws(info: dict, masks: bool) -> Iterator[tuple[str, Example]]:
    """Yield what is wrong with boxes and masks of an image, as keys of `_FLAWS`."""
    # Without a size nothing lies beyond it.
    size = info.get('width') or math.inf, info.get('height') or math.inf
    for one in info['instances']:
        if len(corners := one.get('bbox') or ()) != 4:
            continue
        left, top, right, bottom = map(float, corners)
        box = (left, top, right - left, bottom - top)
        flaw, _ = box_flaw(box, size)
        mask = one.get('mask')
        if not flaw and masks and isinstance(mask, list) and mask and apart(mask, box):
            flaw = 'apart'
        if flaw:
            shown = ', '.join(f'{side:g}' for side in (left, top, right, bottom))
            yield flaw, Example(Path(info['img_path']), box, f'box {shown}')
