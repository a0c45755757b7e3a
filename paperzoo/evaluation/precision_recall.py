"""Precision over recall of each class, and the average precision under it."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paperzoo.evaluation.analysis import by_image
from paperzoo.evaluation.confusion import match

# As COCO: precision is looked at where recall is 0, 0.01, ... 1.
RECALLS = np.linspace(0, 1, 101)


class Curve(NamedTuple):
    """A class in a test.

    Args:
        precision: At recalls from 0 to 1: the best at this or a larger recall.
        average: Mean of them, from 0 to 1; NaN for a class without objects.
        objects: How many there are.
        found: How many records there are of it.
    """

    precision: Float[np.ndarray, '101']
    average: float
    objects: int
    found: int


def precision_recall(results: dict[str, Any], iou: float = 0.5) -> dict[str, Curve]:
    """Return the curve of each class.

    Args:
        results: Of objects, as a test has written them, of all scores.
        iou: Smallest IoU of a pair.

    Example:
        >>> from paperzoo.evaluation.precision_recall import precision_recall
        >>> box = {'image_id': 1, 'category_id': 0, 'bbox': [0, 0, 9, 9], 'score': 0.9}
        >>> results = {'images': [{'id': 1}], 'truth': [box], 'annotations': [box],
        ...            'categories': [{'name': 'cat'}]}
        >>> precision_recall(results)['cat'].average
        1.0
    """
    found, truth = by_image(results['annotations']), by_image(results['truth'])
    curves = {}
    for label, category in enumerate(results['categories']):
        scores: list[float] = []
        right: list[bool] = []
        objects = 0
        for image in results['images']:
            own = [one for one in found[image['id']] if one['category_id'] == label]
            real = [one for one in truth[image['id']] if one['category_id'] == label]
            objects += sum(not one.get('ignored') for one in real)
            pairs, alone, _ = match(own, real, iou)
            for index, is_right in (
                *((index, True) for index, _, _ in pairs),
                *((index, False) for index in alone),
            ):
                scores.append(own[index].get('score', 1.0))
                right.append(is_right)
        curves[category['name']] = _curve(scores, right, objects)
    return curves


def _curve(scores: list[float], right: list[bool], objects: int) -> Curve:
    if objects == 0:
        return Curve(np.full(len(RECALLS), np.nan), float('nan'), 0, len(scores))
    order = np.argsort(-np.array(scores), kind='stable')
    hits = np.array(right, float)[order]
    recall = hits.cumsum() / objects
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side='left')
    values = np.append(best, 0.0)[place]
    return Curve(values, float(values.mean()), objects, len(scores))
