"""Average precision: COCO's own digits, and numbers that a person can check."""

import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from paperzoo.evaluation.precision_recall import precision_recall


def box(image: int, label: int, x: float, score: float | None = None) -> dict:
    own = {'image_id': image, 'category_id': label, 'bbox': [x, 0, 10, 10]}
    return own if score is None else {**own, 'score': score}


def results(found: list[dict], truth: list[dict], names: str = 'ab') -> dict:
    images = sorted({one['image_id'] for one in (*found, *truth)})
    return {
        'images': [{'id': one, 'width': 200, 'height': 50} for one in images],
        'categories': [{'id': n, 'name': name} for n, name in enumerate(names)],
        'annotations': found,
        'truth': truth,
    }


def test_by_hand() -> None:
    truth = [box(1, 0, 0), box(1, 0, 100)]
    found = [box(1, 0, 0, 0.9), box(1, 0, 50, 0.8), box(1, 0, 100, 0.7)]
    curve = precision_recall(results(found, truth))['a']
    # Precision 1 up to a recall of one half, then 2 / 3.
    assert curve.precision[50] == 1
    assert curve.precision[51] == pytest.approx(2 / 3)
    assert curve.average == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (curve.objects, curve.found) == (2, 3)


def test_a_class_without_objects_has_no_average() -> None:
    curves = precision_recall(results([box(1, 1, 0, 0.9)], [box(1, 0, 0)]))
    assert math.isnan(curves['b'].average)
    assert curves['a'].average == 0


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('iou', [0.5, 0.75])
def test_cocos_digits(seed: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for image in range(1, 9):
        for place in range(0, 150, 25):
            label = int(rng.integers(2))
            if rng.random() < 0.7:
                truth.append(box(image, label, place))
            if rng.random() < 0.7:
                at = place + float(rng.integers(0, 6))
                found.append(box(image, label, at, float(rng.random())))
    data = results(found, truth)
    coco = COCO()
    rows = [
        {**one, 'id': n, 'area': 100, 'iscrowd': 0} for n, one in enumerate(truth, 1)
    ]
    coco.dataset = {
        'images': data['images'],
        'categories': data['categories'],
        'annotations': rows,
        'info': {},
    }
    coco.createIndex()
    run = COCOeval(coco, coco.loadRes(found), 'bbox')
    run.params.iouThrs = np.array([iou])
    run.evaluate()
    run.accumulate()
    theirs = run.eval['precision'][0, :, :, 0, 2]
    for label, curve in enumerate(precision_recall(data, iou).values()):
        np.testing.assert_allclose(curve.precision, theirs[:, label], atol=1e-9)
