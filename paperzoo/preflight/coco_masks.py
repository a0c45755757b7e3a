"""Do the masks of a COCO file belong to its objects? Before polygons become pixels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdet.datasets.transforms import LoadAnnotations

from paperzoo.preflight.boxes import apart
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.issues import Example, Issue
from paperzoo.utils.masks import is_whole
from paperzoo.utils.wording import some

# From ids of annotations and what is wrong to the images to look at.
Examples = Callable[[list[Any], str], tuple[Example, ...]]
_LOADERS = ('LoadAnnotations', 'mmdet.LoadAnnotations', LoadAnnotations)


def wants_masks(data: DataSpec) -> bool:
    """Return whether the pipeline of a data set loads masks.

    Args:
        data: The data set.

    Example:
        >>> step = {'type': 'LoadAnnotations', 'with_mask': True}
        >>> wants_masks(DataSpec('train', {'pipeline': [step]}, None))
        True
    """
    return bool(_loader(data).get('with_mask'))


def check_masks(
    data: DataSpec, content: dict, file: Path, examples: Examples | None = None
) -> list[Issue]:
    """Return what is wrong with the masks of the objects.

    Args:
        data: The data set.
        content: Of the annotation file.
        file: For the messages.
        examples: Returns the images of annotations.

    Example:
        >>> flat = {'id': 3, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 4, 4],
        ...         'segmentation': []}
        >>> content = {'images': [{'id': 1, 'width': 9, 'height': 9}],
        ...            'annotations': [flat]}
        >>> check_masks(DataSpec('train', {}, None), content, Path('a'))[0].text[:40]
        'train.ann_file: 1 of 1 objects have no m'
    """
    sizes = {one['id']: (one['width'], one['height']) for one in content['images']}
    keep_polygons = _loader(data).get('poly2mask', True) is False
    flaws: dict[str, list[Any]] = {}
    total = 0
    for one in content['annotations']:
        if one['image_id'] not in sizes or one.get('ignore'):
            continue
        total += 1
        for flaw in _flaws(one, sizes[one['image_id']], keep_polygons):
            flaws.setdefault(flaw, []).append(one.get('id'))
    return [
        replace(
            _issue(data, flaw, ids, total, file),
            examples=examples(ids, _DRAWN[flaw]) if examples else (),
        )
        for flaw, ids in flaws.items()
    ]


_MISSING = 'have no mask (segmentation); loading them fails'
_OTHER_SIZE = 'have run lengths of another size than their image'
_NOT_WHOLE = 'have run lengths that do not cover their image: their masks are noise'
_DROPPED = 'have run lengths, which poly2mask=False drops: they are ignored'
_SHORT = 'have only polygons of fewer than 3 points, which are dropped'
_APART = 'have a mask that does not touch their box'

_DRAWN = {
    _MISSING: 'no mask',
    _OTHER_SIZE: 'a mask of another size',
    _NOT_WHOLE: 'run lengths that do not cover the image',
    _DROPPED: 'run lengths',
    _SHORT: 'fewer than 3 points',
    _APART: 'the mask lies elsewhere',
}


def _flaws(one: dict, size: tuple[int, int], keep_polygons: bool) -> Iterator[str]:
    mask = one.get('segmentation')
    if mask == 0 and mask is not None and not isinstance(mask, bool):
        return  # left out when a large file was read
    if not mask:
        yield _MISSING
    elif isinstance(mask, dict):
        if tuple(mask.get('size', ())) != (size[1], size[0]):
            yield _OTHER_SIZE
        elif not is_whole(mask):
            yield _NOT_WHOLE
        if keep_polygons:
            yield _DROPPED
    else:
        points = [part for part in mask if isinstance(part, list) and len(part) >= 6]
        if not points:
            yield _SHORT
        elif apart(points, one['bbox']):
            yield _APART


def _issue(data: DataSpec, flaw: str, ids: list[Any], total: int, file: Path) -> Issue:
    remedy = {
        _DROPPED: 'Set poly2mask=True in LoadAnnotations.',
        _MISSING: 'Take them out of the file, or load boxes only (with_mask=False).',
    }.get(flaw, 'Export the masks again, from images as they are.')
    # One without a mask ends an epoch; run lengths of another size become scraps.
    stops = flaw in (_MISSING, _OTHER_SIZE, _NOT_WHOLE) or 2 * len(ids) > total
    return Issue(
        f'{data.key}.ann_file: {len(ids)} of {total} objects {flaw} (annotation ids '
        f'{some(ids, 3)})\n  in {file}\n  {remedy}',
        stops=stops,
    )


def _loader(data: DataSpec) -> dict[str, Any]:
    return data.step(*_LOADERS) or {}
