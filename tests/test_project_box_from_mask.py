"""AP by occlusion against an example worked by hand; ellipses; the configs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.datasets.api_wrappers import COCO
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import encode_mask_results
from numpy.testing import assert_allclose
from project_tools import assert_learns_and_predicts, load

from paperzoo.data.paths import ensure_generated
from paperzoo.knet.panoptic import boxes_around
from projects.box_from_mask.ellipses import EllipsesAsMasks, ellipses
from projects.box_from_mask.occlusion import (
    LIMITS,
    OcclusionBoxMetric,
    box_ious_of_good_masks,
    covered_shares,
    hidden_shares,
)

# x, y, width, height, and the hidden share.
OBJECTS = [((0, 0, 10, 10), 0.0), ((20, 0, 10, 10), 0.1), ((40, 0, 10, 10), 0.5)]


def annotation_file(folder: Path) -> str:
    annotations = [
        {
            'id': number,
            'image_id': 1,
            'category_id': 1,
            'bbox': list(box),
            'area': 100,
            'iscrowd': 0,
            'occluded': share,
        }
        for number, (box, share) in enumerate(OBJECTS, start=1)
    ]
    record = {
        'images': [{'id': 1, 'width': 64, 'height': 48, 'file_name': 'a.jpg'}],
        'categories': [{'id': 1, 'name': 'thing'}, {'id': 2, 'name': 'other'}],
        'annotations': annotations,
    }
    (folder / 'truth.json').write_text(json.dumps(record))
    return str(folder / 'truth.json')


def evaluated(
    folder: Path, found: Sequence[tuple[tuple[float, ...], float]], label: int = 0
) -> dict:
    metric = OcclusionBoxMetric(ann_file=annotation_file(folder))
    metric.dataset_meta = {'classes': ('thing', 'other')}
    xywh = torch.tensor([box for box, _ in found], dtype=torch.float32).reshape(-1, 4)
    sample = {
        'img_id': 1,
        'ori_shape': (48, 64),
        'pred_instances': {
            'bboxes': torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1),
            'scores': torch.tensor([score for _, score in found]),
            'labels': torch.full((len(found),), label),
        },
    }
    metric.process({}, [sample])
    return {k.removeprefix('coco/'): v for k, v in metric.evaluate(1).items()}


def by_occlusion(metrics: dict) -> dict[str, float]:
    return {name: metrics[f'bbox_mAP_{name}'] for name in LIMITS}


def test_what_is_found_counts_where_it_belongs(tmp_path: Path) -> None:
    """The whole object is found; the partly hidden one too; the other is missed."""
    metrics = evaluated(tmp_path, [(OBJECTS[0][0], 0.9), (OBJECTS[1][0], 0.8)])
    assert by_occlusion(metrics) == {'whole': 1.0, 'partly': 1.0, 'largely': 0.0}
    # 101 recalls; up to 2/3, which are 67, the precision is 1.
    assert metrics['bbox_mAP'] == pytest.approx(67 / 101, abs=1e-3)


def test_a_detection_of_nothing_is_wrong_everywhere(tmp_path: Path) -> None:
    """It comes before all others: the only object of a bin is found with precision 1/2.

    Objects of other bins are not wrong, else it were less.
    """
    nothing = ((5, 30, 8, 8), 0.95)
    found = [nothing, *((box, 0.9 - share) for box, share in OBJECTS)]
    metrics = evaluated(tmp_path, found)
    assert by_occlusion(metrics) == dict.fromkeys(LIMITS, 0.5)


def test_how_near_a_box_must_be(tmp_path: Path) -> None:
    """7.5 of 10 columns: IoU 0.75, six of the ten thresholds."""
    x, y, _, height = OBJECTS[2][0]
    metrics = evaluated(tmp_path, [((x, y, 7.5, height), 0.9)])
    assert by_occlusion(metrics) == {'whole': 0.0, 'partly': 0.0, 'largely': 0.6}


def test_large_objects_count_like_small_ones(tmp_path: Path) -> None:
    """The range of areas by which bins are made does not look at true areas."""
    found = [(box, 0.9) for box, _ in OBJECTS]
    assert by_occlusion(evaluated(tmp_path, found)) == dict.fromkeys(LIMITS, 1.0)


def test_classes_ignored(tmp_path: Path) -> None:
    """All boxes right, all classes wrong."""
    metrics = evaluated(tmp_path, [(box, 0.9) for box, _ in OBJECTS], label=1)
    assert metrics['bbox_mAP'] == 0
    assert metrics['bbox_mAP_any_class'] == 1
    assert by_occlusion(metrics) == dict.fromkeys(LIMITS, 0.0)


def test_who_finds_nothing_has_no_numbers(tmp_path: Path) -> None:
    assert evaluated(tmp_path, []) == {}


def test_boxes_of_good_masks_by_hand() -> None:
    """Objects of 10 x 10: one mask is right, one cut to 8 rows, one of a wrong object.

    One more pixel far away makes the first box 40 x 40 and its mask hardly worse.
    """
    masks = np.zeros((4, 48, 64), np.uint8)
    masks[0, :10, :10] = masks[0, 39, 39] = 1
    masks[1, :8, 50:60] = 1
    masks[2, 30:34, 50:60] = 1
    masks[3, :2, 50:60] = 1
    results: list[tuple[dict, dict]] = [
        (
            {},
            {
                'img_id': 1,
                'bboxes': np.array(
                    [[0, 0, 40, 40], [50, 0, 60, 8], [50, 30, 60, 34], [50, 0, 60, 2]],
                    np.float32,
                ),
                'masks': encode_mask_results(masks),
            },
        ),
        ({}, {'img_id': 2, 'bboxes': np.zeros((0, 4), np.float32), 'masks': []}),
    ]
    truth = COCO()
    size = {'width': 64, 'height': 48}
    truth.dataset = {
        'images': [{'id': number, **size} for number in (1, 2)],
        'categories': [{'id': 1}],
        'annotations': [
            {
                'id': number,
                'image_id': 1 + number // 4,
                'category_id': 1,
                'bbox': [x, y, 10, 10],
                'segmentation': [[x, y, x + 10, y, x + 10, y + 10, x, y + 10]],
            }
            for number, (x, y) in enumerate(
                [(0, 0), (50, 0), (50, 30), (0, 20), (9, 9)]
            )
        ],
    }
    truth.createIndex()
    # IoU of the masks 100/101, 0.8, 0.4, 0; of their boxes 100/1600, 0.8, 0.4.
    assert box_ious_of_good_masks(results, truth) == {
        'box_iou_if_mask_50': round((1 / 16 + 0.8) / 2, 3),
        'box_iou_if_mask_70': round((1 / 16 + 0.8) / 2, 3),
        'box_iou_if_mask_90': round(1 / 16, 3),
    }
    for annotation in truth.dataset['annotations']:
        del annotation['segmentation']
    assert box_ious_of_good_masks(results, truth) == {}
    assert box_ious_of_good_masks([({}, {'img_id': 1, 'bboxes': []})], truth) == {}


def test_covered_shares_by_hand() -> None:
    """The second box lies half on the first and a quarter on the third."""
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 4], [12.5, 0, 4, 4], [50, 50, 1, 1]])
    assert_allclose(covered_shares(boxes), [0.2, 0.5, 0.625, 0.0])


def test_the_annotation_knows_better_than_the_boxes() -> None:
    annotations = [
        {'id': 7, 'image_id': 1, 'bbox': [0, 0, 10, 10], 'occluded': 0.3},
        {'id': 8, 'image_id': 1, 'bbox': [5, 0, 10, 10]},
        {'id': 9, 'image_id': 2, 'bbox': [5, 0, 10, 10]},
    ]
    assert hidden_shares(annotations) == {7: 0.3, 8: 0.5, 9: 0.0}


def test_shapes_has_objects_of_each_kind() -> None:
    path = Path(ensure_generated('data/shapes/annotations/instances_val.json'))
    annotations = json.loads(path.read_text())['annotations']
    shares = list(hidden_shares(annotations).values())
    counts = {
        name: sum(low <= share < high for share in shares)
        for name, (low, high) in LIMITS.items()
    }
    assert counts == {'whole': 276, 'partly': 52, 'largely': 114}


odd = st.integers(0, 12).map(lambda half: 2 * half + 1)


@given(st.lists(st.tuples(odd, odd, odd, odd), max_size=3))
def test_the_box_around_an_ellipse_is_its_box(sizes: list[tuple[int, ...]]) -> None:
    """Odd sides: then the outermost pixels' centres lie on an axis, however thin."""
    xywh = torch.tensor(sizes, dtype=torch.float32).reshape(-1, 4)
    boxes = torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1)
    masks = torch.from_numpy(ellipses(boxes.numpy(), 55, 60)).bool()
    torch.testing.assert_close(boxes_around(masks), boxes)


def test_an_ellipse_covers_pi_quarters_of_its_box() -> None:
    (mask,) = ellipses(np.array([[10.0, 20.0, 110.0, 160.0]]), 200, 200)
    assert mask.sum() / (100 * 140) == pytest.approx(np.pi / 4, abs=2e-3)


def test_masks_stand_beside_the_boxes() -> None:
    boxes = HorizontalBoxes(torch.tensor([[1.0, 2.0, 8.0, 9.0], [0.0, 0.0, 5.0, 5.0]]))
    results = EllipsesAsMasks()({'img_shape': (12, 16), 'gt_bboxes': boxes})
    masks = results['gt_masks']
    assert (len(masks), masks.height, masks.width) == (2, 12, 16)
    assert masks.masks[0, 5, 4] == 1
    assert masks.masks[0, 2, 1] == 0


@pytest.mark.parametrize('model', ['fcos', 'knet'])
@pytest.mark.parametrize('data', ['shapes', 'bccd'])
def test_configs(model: str, data: str) -> None:
    cfg = load(f'box_from_mask_{model}_{data}')
    assert cfg.test_evaluator.type is OcclusionBoxMetric
    other = load(f'box_from_mask_{"fcos" if model == "knet" else "knet"}_{data}')
    for part in ('ann_file', 'data_prefix'):
        for loader in ('train_dataloader', 'test_dataloader'):
            assert cfg[loader].dataset[part] == other[loader].dataset[part]
    scales = [
        [
            one.scale
            for one in config.train_dataloader.dataset.pipeline
            if 'scale' in one
        ]
        for config in (cfg, other)
    ]
    assert scales[0] == scales[1] != []
    assert cfg.model.backbone == other.model.backbone
    assert_learns_and_predicts(cfg)


@pytest.mark.data
def test_knet_gets_masks_of_cells(real_data: Path) -> None:
    from paperzoo.registry import DATASETS

    cfg = load('box_from_mask_knet_bccd')
    sample = DATASETS.build(cfg.train_dataloader.dataset)[0]['data_samples']
    masks = torch.from_numpy(sample.gt_instances.masks.masks).bool()
    assert len(masks) == len(sample.gt_instances) > 3
    # Resizing rounds a mask's edges by up to a pixel of the small image.
    boxes = sample.gt_instances.bboxes.tensor
    torch.testing.assert_close(boxes_around(masks), boxes, atol=1.01, rtol=0)
