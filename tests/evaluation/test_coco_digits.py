"""FastCocoMetric prints every digit that mmdet's CocoMetric prints: boxes, masks."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask

from paperzoo.evaluation.coco import FastCocoMetric

NAMES = ('small', 'large', 'round', 'never there')
WIDTH, HEIGHT = 320, 240


def polygon(box: np.ndarray) -> list[float]:
    x, y, w, h = box.tolist()
    return [x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 2]


def run_lengths(box: np.ndarray) -> dict:
    (rle,) = coco_mask.frPyObjects([polygon(box)], HEIGHT, WIDTH)
    return {'size': list(rle['size']), 'counts': rle['counts'].decode()}


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(rng.uniform(2, 5, (count, 2)))
    start = rng.random((count, 2)) * (np.array((WIDTH, HEIGHT)) - sides).clip(1)
    return np.concatenate([start, sides], axis=1).round(2)


def synthetic(images: int = 40, seed: int = 0) -> dict:
    """Objects of all sizes, crowds, images without objects, a class without objects."""
    rng = np.random.default_rng(seed)
    annotations: list[dict] = []
    for image in range(images):
        for box in random_boxes(rng, rng.integers(0, 8)):
            crowd = bool(rng.random() < 0.1)
            shape = run_lengths(box) if crowd else [polygon(box)]
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image,
                    'category_id': 10 * int(rng.integers(1, 4)),
                    'bbox': box.tolist(),
                    'area': float(coco_mask.area(run_lengths(box))),
                    'iscrowd': int(crowd),
                    'segmentation': shape,
                }
            )
    return {
        'images': [
            {'id': k, 'width': WIDTH, 'height': HEIGHT, 'file_name': f'{k}.jpg'}
            for k in range(images)
        ],
        'categories': [
            {'id': 10 * k, 'name': name} for k, name in enumerate(NAMES, start=1)
        ],
        'annotations': annotations,
    }


def detections(truth: dict, seed: int = 1) -> list[dict]:
    """Moved objects, wrong classes, doubles and inventions; many scores are equal."""
    rng = np.random.default_rng(seed)
    labels = {one['id']: k for k, one in enumerate(truth['categories'])}
    samples = []
    for image in truth['images']:
        size = (image['height'], image['width'])
        own = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        boxes, kinds, masks = [], [], []
        for annotation in own:
            mask = mask_of(annotation, size)
            for _ in range(int(rng.integers(1, 4))):
                shift = rng.normal(0, 0.08, 2) * annotation['bbox'][2:]
                moved = np.array(annotation['bbox']) + [*shift, 0, 0]
                boxes.append(moved)
                masks.append(np.roll(mask, shift.round().astype(int)[::-1], (0, 1)))
                right = labels[annotation['category_id']]
                other = int(rng.integers(len(labels)))
                kinds.append(other if rng.random() < 0.2 else right)
        boxes.append(np.array([5.0, 5, 50, 40]))
        masks.append(np.ones(size, bool))
        kinds.append(0)
        xywh = np.stack(boxes)
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        encoded = [coco_mask.encode(np.asfortranarray(m, np.uint8)) for m in masks]
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=size,
                pred_instances=dict(
                    bboxes=torch.tensor(corners, dtype=torch.float32),
                    scores=torch.tensor(rng.random(len(boxes)).round(1)),
                    labels=torch.tensor(kinds),
                    masks=encoded,
                ),
            )
        )
    return samples


def mask_of(annotation: dict, size: tuple[int, int]) -> np.ndarray:
    shape = annotation['segmentation']
    if isinstance(shape, list):
        shape = coco_mask.merge(coco_mask.frPyObjects(shape, *size))
    elif isinstance(shape['counts'], list):
        shape = coco_mask.frPyObjects(shape, *size)
    return coco_mask.decode(shape).astype(bool)


def printed(metric: CocoMetric, truth: dict, found: list[dict]) -> tuple[dict, list]:
    """Return the numbers of a metric and every line that it logs."""
    metric.dataset_meta = dict(classes=tuple(c['name'] for c in truth['categories']))
    metric.process({}, found)
    logger = MMLogger.get_current_instance()
    with mock.patch.object(logger, 'info') as info:
        numbers = metric.evaluate(len(found))
    lines = [call.args[0] for call in info.call_args_list]
    return numbers, [line for line in lines if 'mAP' in line or 'precision' in line]


def assert_every_digit(ann_file: Path, **options: object) -> dict:
    truth = json.loads(ann_file.read_text())
    options = dict(ann_file=str(ann_file), classwise=True, **options)
    fast, fast_lines = printed(FastCocoMetric(**options), truth, detections(truth))
    slow, slow_lines = printed(CocoMetric(**options), truth, detections(truth))
    assert fast.keys() == slow.keys()
    np.testing.assert_array_equal(list(fast.values()), list(slow.values()))
    assert fast_lines == slow_lines
    assert fast_lines
    return slow


def test_every_digit_on_synthetic_objects(tmp_path: Path) -> None:
    file = tmp_path / 'truth.json'
    file.write_text(json.dumps(synthetic()))
    numbers = assert_every_digit(file, metric=['bbox', 'segm'])
    assert 0.1 < numbers['coco/bbox_mAP'] < 0.95
    assert 0.1 < numbers['coco/segm_mAP'] < 0.95
    assert np.isnan(numbers['coco/never there_precision'])


def test_every_digit_of_proposals(tmp_path: Path) -> None:
    file = tmp_path / 'truth.json'
    truth = synthetic()
    file.write_text(json.dumps(truth))
    options = dict(ann_file=str(file), metric='proposal')
    pair = [cls(**options) for cls in (FastCocoMetric, CocoMetric)]
    fast, slow = (printed(one, truth, detections(truth))[0] for one in pair)
    assert fast == slow
    assert len(slow) == 6
    assert 0.1 < slow['coco/AR@100'] < 1


@pytest.mark.data
def test_every_digit_on_real_objects(real_data: Path) -> None:
    file = real_data / 'coco100' / 'annotations' / 'instances_val2017.json'
    numbers = assert_every_digit(file, metric=['bbox', 'segm'])
    assert 0.1 < numbers['coco/bbox_mAP'] < 0.95
    assert 0.1 < numbers['coco/segm_mAP'] < 0.95
