"""What a test has found, against the truth: confusion matrix, quality of each image."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.evaluation.confusion import (
    object_confusion,
    object_quality,
    pixel_confusion,
    pixel_quality,
)
from paperzoo.utils.files import refuse_irregular


def read_results(name: str) -> dict[str, Any]:
    """Return the results that a test has written.

    Args:
        name: The JSON file.

    Raises:
        UserError: If the file is a pickle, is not one that a test has written, or has
            no truth, images or classes.

    Example:
        >>> from paperzoo.evaluation.analysis import read_results
        >>> read_results('results.pkl')
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'results.pkl' is a pickle, which can run ...
    """
    if name.endswith(('.pkl', '.pickle')):
        raise UserError(
            f"'{name}' is a pickle, which can run any code when it is read. Write the "
            'results as JSON: paperzoo test CONFIG CHECKPOINT --out results.json'
        )
    refuse_irregular(Path(name))
    try:
        results = json.loads(Path(name).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{name}' cannot be read as results: {error}") from error
    needed = {'kind', 'images', 'categories', 'annotations', 'truth'}
    missing = needed - set(results if isinstance(results, dict) else ())
    if missing:
        raise UserError(
            f"'{name}' has no {', '.join(sorted(missing))}: it is not written by "
            'paperzoo test CONFIG CHECKPOINT --out results.json'
        )
    if results['truth'] is None:
        raise UserError(
            f"'{name}' holds no truth: the test pipeline of the config has no "
            'LoadAnnotations. Add it after Resize, and test again'
        )
    if not results['images'] or not results['categories']:
        raise UserError(f"'{name}' holds no images or no classes: nothing to analyze")
    if wrong := _misplaced(results):
        raise UserError(
            f"'{name}' cannot be read as results: {wrong}. Write it again: "
            'paperzoo test CONFIG CHECKPOINT --out results.json'
        )
    return results


def _misplaced(results: dict[str, Any]) -> str | None:
    """Return what is not where a test writes it."""
    kinds = ('instances', 'panoptic', 'semantic', 'episodes')
    if results['kind'] not in kinds:
        return f'its kind is {results["kind"]!r}'
    wanted: dict[str, dict[str, type | tuple[type, ...]]] = {
        'images': {'id': (int, str), 'file_name': str, 'height': int, 'width': int},
        'categories': {'name': str},
        'annotations': {'image_id': (int, str)},
        'truth': {'image_id': (int, str)},
    }
    if results['kind'] == 'episodes':
        wanted['images'] = {'id': int, 'file_name': str}
    for key, fields in wanted.items():
        if not isinstance(results[key], list):
            return f"'{key}' is no list"
        for number, row in enumerate(results[key]):
            for field, kind in fields.items():
                if not isinstance(row, dict) or not isinstance(row.get(field), kind):
                    return f"'{key}', item {number}, has no '{field}'"
    return None


def unusable(results: dict[str, Any]) -> dict[Any, str]:
    """Return the images that cannot be compared, each with the reason.

    Args:
        results: As `read_results` gives them.

    Example:
        >>> from paperzoo.evaluation.analysis import unusable
        >>> box = {'image_id': 1, 'category_id': 5, 'bbox': [0, 0, 9, 9]}
        >>> unusable({'kind': 'instances', 'images': [{'id': 1}], 'truth': [box],
        ...           'categories': [{'name': 'cat'}], 'annotations': []})
        {1: 'category_id 5 of 1 class'}
    """
    images = {image['id']: image for image in results['images']}
    number = len(results['categories'])
    reasons: dict[Any, str] = {}
    for row in (*results['annotations'], *results['truth']):
        image = images.get(row['image_id'])
        wrong = image and _wrong(row, results['kind'], image, number)
        if wrong:
            reasons.setdefault(row['image_id'], wrong)
    return reasons


def _wrong(
    row: dict[str, Any], kind: str, image: dict[str, Any], classes: int
) -> str | None:
    label = row.get('category_id')
    if type(label) is not int or not 0 <= label < classes:
        word = 'class' if classes == 1 else 'classes'
        return f'category_id {label!r} of {classes} {word}'
    if kind == 'episodes':
        return None
    if 'score' in row and not _number(row['score']):
        return f'score {row["score"]!r}'
    mask = row.get('segmentation')
    if mask is not None:
        size = [image.get('height'), image.get('width')]
        if not isinstance(mask, dict) or not isinstance(mask.get('counts'), str | list):
            return 'a segmentation that is no run lengths'
        if mask.get('size') != size:
            return f'a segmentation of {mask.get("size")} in an image of {size}'
    elif kind != 'instances':
        return 'a record without a segmentation'
    box = row.get('bbox')
    if box is None:
        return 'a record without a bbox' if mask is None else None
    good = isinstance(box, list) and len(box) == 4 and all(map(_number, box))
    return None if good else f'bbox {box!r}'


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def by_image(rows: list[dict]) -> dict[int, list[dict]]:
    """Return records by the number of their image.

    Args:
        rows: Records with an `image_id`.

    Example:
        >>> from paperzoo.evaluation.analysis import by_image
        >>> len(by_image([{'image_id': 1}, {'image_id': 1}])[1])
        2
    """
    grouped: dict[int, list[dict]] = defaultdict(list)
    for row in rows:
        grouped[row['image_id']].append(row)
    return grouped


def confusion_and_quality(
    results: dict[str, Any],
    *,
    score: float,
    iou: float,
    images: Iterable[dict[str, Any]] | None = None,
) -> tuple[NDArray[np.int64], dict[int, float]]:
    """Return the confusion matrix and the quality of each image by its number.

    Args:
        results: As a test has written them.
        score: Records below it are left out.
        iou: Smallest IoU of a pair of objects.
        images: Those of the results that are looked at; by default all.

    Example:
        >>> from paperzoo.evaluation.analysis import confusion_and_quality
        >>> box = {'image_id': 1, 'category_id': 0, 'bbox': [0, 0, 9, 9]}
        >>> results = {'kind': 'instances', 'images': [{'id': 1}], 'truth': [box],
        ...            'categories': [{'name': 'cat'}], 'annotations': [box]}
        >>> counts, quality = confusion_and_quality(results, score=0.3, iou=0.5)
        >>> counts.tolist(), quality
        ([[1, 0], [0, 0]], {1: 1.0})
    """
    if results['kind'] == 'episodes':
        return _answers(results)
    found, truth = by_image(results['annotations']), by_image(results['truth'])
    num_classes = len(results['categories'])
    total = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    quality = {}
    for image in results['images'] if images is None else images:
        number = image['id']
        kept = [one for one in found[number] if one.get('score', 1.0) >= score]
        if results['kind'] == 'instances':
            own = object_confusion(kept, truth[number], num_classes, iou)
            quality[number] = object_quality(kept, truth[number], iou)
        else:
            size = (image['height'], image['width'])
            own = pixel_confusion(kept, truth[number], num_classes, size)
            quality[number] = pixel_quality(own)
        total += own
    return total, quality


def _answers(results: dict[str, Any]) -> tuple[NDArray[np.int64], dict[int, float]]:
    """Return the confusion matrix of episodes, and how often each image was right."""
    side = len(results['categories']) + 1
    total = np.zeros((side, side), np.int64)
    right: dict[int, list[bool]] = defaultdict(list)
    for found, truth in zip(results['annotations'], results['truth'], strict=True):
        total[truth['category_id'], found['category_id']] += 1
        same = truth['category_id'] == found['category_id']
        right[truth['image_id']].append(same)
    return total, {number: sum(own) / len(own) for number, own in right.items()}
