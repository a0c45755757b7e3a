"""FastCocoMetric gives pycocotools' numbers, on Shapes and on real annotations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.evaluation.coco import FastCocoMetric


def noisy_truth(annotations: dict, seed: int = 0) -> list[dict]:
    """Predictions near the truth: moved boxes, some wrong classes, some invented."""
    rng = np.random.default_rng(seed)
    label = {category['id']: k for k, category in enumerate(annotations['categories'])}
    samples = []
    for image in annotations['images']:
        own = [a for a in annotations['annotations'] if a['image_id'] == image['id']]
        xywh = np.array([a['bbox'] for a in own] + [[1.0, 2.0, 30.0, 20.0]])
        xywh += rng.normal(0, 0.12, xywh.shape) * xywh[:, [2, 3, 2, 3]]
        labels = np.array([label[a['category_id']] for a in own] + [0])
        wrong = rng.random(len(labels)) < 0.2
        labels[wrong] = rng.integers(0, len(label), wrong.sum())
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:].clip(1)], axis=1)
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=dict(
                    bboxes=torch.tensor(boxes),
                    scores=torch.tensor(rng.random(len(boxes))),
                    labels=torch.tensor(labels),
                ),
            )
        )
    return samples


def evaluate(metric: CocoMetric, annotations: dict) -> dict[str, float]:
    names = tuple(category['name'] for category in annotations['categories'])
    metric.dataset_meta = dict(classes=names)
    samples = noisy_truth(annotations)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def assert_same_numbers(ann_file: str) -> None:
    annotations = json.loads(Path(ensure_generated(ann_file)).read_text())
    fast = evaluate(FastCocoMetric(ann_file=ann_file, classwise=True), annotations)
    slow = evaluate(
        CocoMetric(ann_file=ensure_generated(ann_file), classwise=True), annotations
    )
    assert fast == pytest.approx(slow, abs=1e-3, nan_ok=True)
    assert 0.05 < slow['coco/bbox_mAP'] < 0.9
    assert len(slow) > 6


def test_same_numbers_as_pycocotools_on_shapes() -> None:
    assert_same_numbers('data/shapes/annotations/instances_val.json')


@pytest.mark.data
def test_same_numbers_as_pycocotools_on_real_images(real_data: Path) -> None:
    assert (real_data / 'coco100').is_dir(), f'{real_data} has no coco100'
    assert_same_numbers('data/coco100/annotations/instances_val2017.json')


def test_missing_annotation_file_is_named() -> None:
    with pytest.raises(UserError, match=r"ann_file='nowhere/a\.json'"):
        FastCocoMetric(ann_file='nowhere/a.json')


def test_hotcoco_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*_: object) -> None:
        raise RuntimeError('hotcoco was asked')

    monkeypatch.setattr('paperzoo.evaluation.coco.hotcoco.COCOeval', used)
    ann_file = 'data/shapes/annotations/instances_val.json'
    annotations = json.loads(Path(ensure_generated(ann_file)).read_text())
    with pytest.raises(RuntimeError, match='hotcoco was asked'):
        evaluate(FastCocoMetric(ann_file=ann_file), annotations)
