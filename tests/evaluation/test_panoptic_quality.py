"""Panoptic quality: by hand, by law, against torchmetrics and against mmdet."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.detection import panoptic_quality as torchmetrics_pq

from paperzoo.compat import panopticapi
from paperzoo.errors import UserError
from paperzoo.evaluation.panoptic_quality import (
    PanopticQuality,
    Segments,
    count_overlaps,
    match_segments,
    predicted_segments,
    qualities,
)

# mmdet looks for panopticapi once, when it is imported.
panopticapi.apply()

IOU, TP, FP, FN = range(4)


def segments(labels: dict[int, int], crowd: tuple[int, ...] = ()) -> Segments:
    """Segments from id to label."""
    ids = np.array(list(labels), dtype=np.int64)
    return Segments(
        ids, np.array(list(labels.values()), dtype=np.int64), np.isin(ids, crowd)
    )


def count(
    pred_row: list[int],
    gt_row: list[int],
    pred: dict[int, int],
    gt: dict[int, int],
    crowd: tuple[int, ...] = (),
    num_classes: int = 2,
) -> np.ndarray:
    """Count an image of one row."""
    overlaps = count_overlaps(np.array([pred_row]), np.array([gt_row]))
    return match_segments(overlaps, segments(pred), segments(gt, crowd), num_classes)


def expect(found: np.ndarray, **by_class: tuple[float, float, float, float]) -> None:
    """Compare with (iou, tp, fp, fn) of the classes c0, c1."""
    expected = np.zeros_like(found)
    for name, values in by_class.items():
        expected[int(name[1:])] = values
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_overlaps_by_hand() -> None:
    pred = np.array([[5, 5, 0], [5, 0, 0]])
    gt = np.array([[1, 1, 1], [2**24 - 1] * 3])
    found = {tuple(pair[:2]): pair[2] for pair in count_overlaps(pred, gt).T.tolist()}
    last = 2**24 - 1
    assert found == {(5, 1): 2, (0, 1): 1, (5, last): 1, (0, last): 2}


def test_perfect() -> None:
    row = [1, 1, 2, 2, 3, 3]
    labels = {1: 0, 2: 0, 3: 1}
    expect(count(row, row, labels, labels), c0=(2, 2, 0, 0), c1=(1, 1, 0, 0))


def test_one_missed() -> None:
    found = count([1, 1, 9, 9], [1, 1, 2, 2], {1: 0}, {1: 0, 2: 0})
    expect(found, c0=(1, 1, 0, 1))


def test_one_split() -> None:
    """Of two parts, 3/4 and 1/4 of the segment, the larger matches."""
    found = count([7, 7, 7, 8], [1, 1, 1, 1], {7: 0, 8: 0}, {1: 0})
    expect(found, c0=(0.75, 1, 1, 0))


def test_wrong_class() -> None:
    found = count([1, 1], [1, 1], {1: 1}, {1: 0})
    expect(found, c0=(0, 0, 0, 1), c1=(0, 0, 1, 0))


def test_an_iou_of_exactly_one_half_is_no_match() -> None:
    expect(count([1, 1, 9], [2, 3, 2], {1: 0}, {2: 0}), c0=(0, 0, 1, 1))
    expect(count([1, 1, 9, 9], [2] * 4, {1: 0}, {2: 0}), c0=(0, 0, 1, 1))
    found = count([1, 1, 1, 9, 9], [2] * 5, {1: 0}, {2: 0})
    expect(found, c0=(3 / 5, 1, 0, 0))


def test_void_leaves_the_union() -> None:
    """2 shared, 1 wrong, 2 on void: 2 of 3 instead of 2 of 5, which would not match."""
    found = count([1, 1, 1, 1, 1], [2, 2, 3, 0, 0], {1: 0}, {2: 0})
    expect(found, c0=(2 / 3, 1, 0, 0))


def test_a_prediction_mostly_on_void_is_not_false() -> None:
    expect(count([1, 1, 1], [0, 0, 2], {1: 0}, {2: 1}), c1=(0, 0, 0, 1))
    # Exactly half is false.
    found = count([1, 1, 1, 1], [0, 0, 2, 2], {1: 0}, {2: 1})
    expect(found, c0=(0, 0, 1, 0), c1=(0, 0, 0, 1))


def test_crowds() -> None:
    """Neither matched nor missed; it excuses predictions of its own class only."""
    row, gt_row = [1, 1, 2, 2], [5, 5, 5, 5]
    expect(count([1] * 4, gt_row, {1: 0}, {5: 0}, (5,)))
    expect(count(row, gt_row, {1: 0, 2: 1}, {5: 0}, (5,)), c1=(0, 0, 1, 0))
    # Void and crowd add up: 1 + 1 of 3 pixels.
    expect(count([1, 1, 1], [0, 5, 6], {1: 0}, {5: 0, 6: 1}, (5,)), c1=(0, 0, 0, 1))


def test_a_crowd_stays_in_the_union() -> None:
    """Only void leaves it: 3 shared of 3 + 2."""
    found = count([1] * 5, [2, 2, 2, 5, 5], {1: 0}, {2: 0, 5: 0}, (5,))
    expect(found, c0=(3 / 5, 1, 0, 0))


def test_nothing_there() -> None:
    expect(count([9], [0], {}, {}))
    expect(count([1], [0], {1: 1}, {}))
    expect(count([9], [4], {}, {4: 1}), c1=(0, 0, 0, 1))


def test_qualities_by_hand() -> None:
    stats = np.array([[1.4, 2, 1, 1], [0, 0, 2, 0], [0, 0, 0, 0]], dtype=np.float64)
    nan = np.nan
    expected = [[1.4 / 3, 0.7, 2 / 3], [0, 0, 0], [nan, nan, nan]]
    np.testing.assert_allclose(qualities(stats), expected)


def test_ids_are_decoded_and_void_is_dropped() -> None:
    found = predicted_segments(np.array([2002, 0, 3, 2, 2002, 255, 1255]), 3, 255)
    np.testing.assert_array_equal(found.ids, [0, 2, 2002])
    np.testing.assert_array_equal(found.labels, [0, 2, 2])
    with pytest.raises(UserError, match=r'label 7, the data set 3 classes'):
        predicted_segments(np.array([1, 1007]), 3, 3)


@st.composite
def images(
    draw: st.DrawFn, void: bool = True
) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    """Two maps that share much, and their segments; ids 1 to 4, labels below 3."""
    cells = st.integers(0 if void else 1, 4)
    gt = np.array(draw(st.lists(cells, min_size=24, max_size=24))).reshape(4, 6)
    noise = draw(st.lists(st.integers(0, 9), min_size=24, max_size=24))
    pred = np.where(np.array(noise).reshape(4, 6) < 3, np.roll(gt, 1), gt)
    labels = st.lists(st.integers(0, 2), min_size=4, max_size=4)
    maps = []
    for ids in (pred, gt):
        chosen = draw(labels)
        # A listed segment has pixels; id 0 is void in both maps.
        maps.append({int(i): chosen[i - 1] for i in np.unique(ids) if i})
    return pred, gt, maps[0], maps[1]


four_ids = st.lists(st.integers(1, 2**24 - 1), min_size=4, max_size=4, unique=True)


@given(images(), four_ids, four_ids)
@settings(max_examples=50, deadline=None)
def test_permuting_ids_changes_nothing(image: Any, of_pred: list, of_gt: list) -> None:
    pred, gt, pred_labels, gt_labels = image
    before = match_segments(
        count_overlaps(pred, gt), segments(pred_labels), segments(gt_labels), 3
    )
    new_pred, new_gt = np.array([0, *of_pred]), np.array([0, *of_gt])
    after = match_segments(
        count_overlaps(new_pred[pred], new_gt[gt]),
        segments({int(new_pred[i]): label for i, label in pred_labels.items()}),
        segments({int(new_gt[i]): label for i, label in gt_labels.items()}),
        3,
    )
    np.testing.assert_allclose(after, before, rtol=1e-12)


@given(images())
@settings(max_examples=50, deadline=None)
def test_pq_is_sq_times_rq_and_counts_add_up(image: Any) -> None:
    pred, gt, pred_labels, gt_labels = image
    stats = match_segments(
        count_overlaps(pred, gt), segments(pred_labels), segments(gt_labels), 3
    )
    pq, sq, rq = qualities(stats).T
    np.testing.assert_allclose(pq, sq * rq)
    assert stats[:, TP].sum() + stats[:, FN].sum() == len(gt_labels)
    assert stats[:, TP].sum() + stats[:, FP].sum() <= len(pred_labels)
    assert (stats[:, IOU] <= stats[:, TP]).all()
    assert (2 * stats[:, IOU] >= stats[:, TP]).all()


@given(images())
@settings(max_examples=50, deadline=None)
def test_the_truth_is_perfect(image: Any) -> None:
    _, gt, _, labels = image
    stats = match_segments(
        count_overlaps(gt, gt), segments(labels), segments(labels), 3
    )
    there = np.bincount(list(labels.values()), minlength=3) > 0
    expected = np.where(there[:, None], 1.0, np.nan).repeat(3, axis=1)
    np.testing.assert_allclose(qualities(stats), expected)


@given(images(void=False))
@settings(max_examples=50, deadline=None)
def test_without_void_both_sides_may_be_swapped(image: Any) -> None:
    pred, gt, pred_labels, gt_labels = image
    one = match_segments(
        count_overlaps(pred, gt), segments(pred_labels), segments(gt_labels), 3
    )
    other = match_segments(
        count_overlaps(gt, pred), segments(gt_labels), segments(pred_labels), 3
    )
    np.testing.assert_allclose(one, other[:, [IOU, TP, FN, FP]])


@pytest.mark.parametrize('seed', range(4))
def test_agrees_with_torchmetrics(seed: int) -> None:
    """Compared where the rules agree: torchmetrics also excuses predicted void."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 30, (6, 8)).repeat(8, 0).repeat(8, 1)
    gt = blocks.copy()
    pred = np.roll(blocks, rng.integers(0, 2, 2), axis=(0, 1)) + 100
    noisy = rng.random(pred.shape) < 0.1
    pred[noisy] = rng.permutation(pred[noisy])
    gt[blocks < 3] = 0
    gt_labels = {int(i): int(rng.integers(5)) for i in np.unique(gt) if i}
    pred_labels = {
        int(i): gt_labels.get(int(i) - 100, 0) if rng.random() < 0.8 else 1
        for i in np.unique(pred)
    }
    stats = match_segments(
        count_overlaps(pred, gt), segments(pred_labels), segments(gt_labels), 5
    )
    assert stats[:, TP].sum() > 3
    assert stats[:, [FP, FN]].sum() > 3

    def pairs(ids: np.ndarray, labels: dict[int, int]) -> torch.Tensor:
        table = np.full(200, 5)  # category 5 is unknown: void
        table[list(labels)] = list(labels.values())
        return torch.from_numpy(np.stack([table[ids], ids], axis=-1))[None]

    per_class = torchmetrics_pq(
        pairs(pred, pred_labels),
        pairs(gt, gt_labels),
        things=set(range(5)),
        stuffs=set(),
        return_sq_and_rq=True,
        return_per_class=True,
    )
    expected = np.nan_to_num(qualities(stats))
    np.testing.assert_allclose(per_class.squeeze(), expected, rtol=1e-6)


CLASSES = ('cat', 'dog', 'sky', 'grass')
META = {
    'classes': CLASSES,
    'thing_classes': ('cat', 'dog'),
    'stuff_classes': CLASSES[2:],
}
CATEGORIES = [
    {'id': cat_id, 'name': name, 'isthing': int(label < 2)}
    for label, (cat_id, name) in enumerate(
        zip((18, 17, 187, 193), CLASSES, strict=True)
    )
]
VOID_LABEL = len(CLASSES)


def make_images() -> list[tuple[np.ndarray, list[dict], np.ndarray]]:
    """Two images of 8x12: true ids, segments and a prediction in mmdet's encoding."""
    first = np.full((8, 12), 70_000)  # sky
    first[4:] = 300  # grass
    first[1:4, 1:5], first[4:8, 6:9], first[0:2, 9:12] = 9, 66_000, 12
    first[7] = 0
    pred_first = np.full((8, 12), 2)
    pred_first[4:] = 3
    pred_first[1:4, 1:4], pred_first[5:8, 6:9] = 1000, 2001
    pred_first[0, 9:12], pred_first[3, 6:12] = 3001, VOID_LABEL
    second = np.full((8, 12), 7)
    second[:, :6] = 8
    pred_second = np.full((8, 12), 1001)
    pred_second[:, :3], pred_second[:, 3:6] = 2000, VOID_LABEL
    return [
        (
            first,
            [
                info(70_000, 'sky', first),
                info(300, 'grass', first),
                info(9, 'cat', first),
                info(66_000, 'dog', first),
                info(12, 'dog', first, iscrowd=1),
            ],
            pred_first,
        ),
        (second, [info(7, 'dog', second), info(8, 'cat', second)], pred_second),
    ]


def info(segment: int, name: str, ids: np.ndarray, iscrowd: int = 0) -> dict[str, Any]:
    rows, columns = np.nonzero(ids == segment)
    left, top = int(columns.min()), int(rows.min())
    return {
        'id': segment,
        'category_id': CATEGORIES[CLASSES.index(name)]['id'],
        'iscrowd': iscrowd,
        'area': len(rows),
        'bbox': [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
    }


def write_set(
    folder: Path, images: list[tuple[np.ndarray, list[dict], np.ndarray]]
) -> tuple[dict[str, str], list[dict]]:
    """Write a COCO panoptic set; return the metrics' arguments and data samples."""
    (folder / 'png').mkdir()
    content: dict[str, Any] = {
        'categories': CATEGORIES,
        'images': [],
        'annotations': [],
    }
    samples = []
    for img_id, (ids, infos, pred) in enumerate(images, start=40):
        picture = panopticapi.id2rgb(ids)[..., ::-1]
        cv2.imwrite(str(folder / 'png' / f'{img_id}.png'), picture)
        content['images'].append({'id': img_id, 'file_name': f'{img_id}.jpg'})
        content['annotations'].append(
            {'image_id': img_id, 'file_name': f'{img_id}.png', 'segments_info': infos}
        )
        samples.append(
            {
                'img_id': img_id,
                'img_path': f'somewhere/{img_id}.jpg',
                'ori_shape': ids.shape,
                'pred_panoptic_seg': {'sem_seg': torch.from_numpy(pred)[None]},
            }
        )
    (folder / 'panoptic.json').write_text(json.dumps(content))
    names = {'ann_file': 'panoptic.json', 'seg_prefix': 'png'}
    return {key: str(folder / name) for key, name in names.items()}, samples


def random_images(seed: int) -> list[tuple[np.ndarray, list[dict], np.ndarray]]:
    """Images with void, crowds (one per class at most) and noisy predictions."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(4):
        ids = rng.integers(0, 20, (5, 8)).repeat(8, 0).repeat(8, 1)
        labels = np.append(VOID_LABEL, rng.integers(0, 4, 19))
        crowds = {int(np.flatnonzero(labels == k)[-1]) for k in (0, 1)}
        infos = [
            info(int(i), CLASSES[labels[i]], ids, int(i in crowds))
            for i in np.unique(ids)
            if i
        ]
        wrong = rng.random(20) < 0.2
        guessed = np.where(wrong, rng.integers(0, 5, 20), labels)
        # Stuff has instance 0, as in mmdet's maps: its regions are one segment.
        value = guessed + np.where(guessed < 2, 1000 * np.arange(1, 21), 0)
        pred = value[np.roll(ids, 1, axis=1)]
        images.append((ids, infos, pred))
    return images


@pytest.fixture
def tiny_set(tmp_path: Path) -> tuple[dict[str, str], list[dict]]:
    return write_set(tmp_path, make_images())


def evaluate(metric: Any, samples: list[dict], meta: dict | None = META) -> dict:
    metric.dataset_meta = meta
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def test_a_tiny_set_by_hand(tiny_set: Any) -> None:
    """Built by its name, with the data samples that mmdet's models return.

    cat: 9 of 12 pixels; in the second image 24 of 48, which is no match. dog: 6 of 9
    (3 of the 9 predicted are void) and all of 48; the prediction on the crowd counts
    for nothing. sky: 24 of 36. grass: 27 of 30 (9 of the 39 predicted are void).
    """
    from mmdet.structures import DetDataSample
    from mmengine.evaluator import Evaluator
    from mmengine.structures import PixelData

    arguments, samples = tiny_set
    evaluator = Evaluator({'type': 'paperzoo.PanopticQuality', **arguments})
    evaluator.dataset_meta = META
    for sample in samples:
        data_sample = DetDataSample(metainfo={'img_id': sample['img_id']})
        data_sample.pred_panoptic_seg = PixelData(**sample['pred_panoptic_seg'])
        evaluator.process([data_sample])
    cat, dog, sky, grass = 9 / 12, (6 / 9 + 1) / 2, 24 / 36, 27 / 30
    fractions = {
        'PQ': (cat / 2 + dog + sky + grass) / 4,
        'SQ': (cat + dog + sky + grass) / 4,
        'RQ': (1 / 2 + 1 + 1 + 1) / 4,
        'PQ_th': (cat / 2 + dog) / 2,
        'SQ_th': (cat + dog) / 2,
        'RQ_th': (1 / 2 + 1) / 2,
        'PQ_st': (sky + grass) / 2,
        'SQ_st': (sky + grass) / 2,
        'RQ_st': 1.0,
    }
    expected = {f'coco_panoptic/{key}': 100 * value for key, value in fractions.items()}
    assert evaluator.evaluate(len(samples)) == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(3))
def test_agrees_with_mmdet(tmp_path: Path, seed: int) -> None:
    """With mmdet's own metric, which runs through the stand-in for panopticapi."""
    from mmdet.evaluation.metrics import CocoPanopticMetric

    arguments, samples = write_set(tmp_path, make_images() + random_images(seed))
    ours = evaluate(PanopticQuality(**arguments), samples)
    # mmdet's writes into the predictions: it comes last.
    theirs = evaluate(CocoPanopticMetric(**arguments, nproc=1), samples)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert all(5 < value < 95 for value in ours.values())


def test_what_does_not_occur_is_nan_and_the_table_names_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    log = 'paperzoo.evaluation.panoptic_quality.print_log'
    monkeypatch.setattr(log, lambda text, logger: logged.append(text))
    arguments, samples = write_set(tmp_path, make_images()[1:])
    metric = PanopticQuality(**arguments, classwise=True, prefix='mine')
    found = evaluate(metric, samples, meta=None)
    assert found['mine/PQ'] == found['mine/PQ_th'] == pytest.approx(50)
    assert np.isnan(found['mine/PQ_st'])
    rows = {line.split()[0]: line.split()[1:] for line in logged[0].splitlines()[1:]}
    assert list(rows) == ['all', 'things', 'stuff', *CLASSES]
    assert rows['dog'] == ['100.000'] * 3
    assert rows['sky'] == ['nan'] * 3


def test_an_ignored_label_of_the_model_is_void(tiny_set: Any) -> None:
    arguments, samples = tiny_set
    expected = evaluate(PanopticQuality(**arguments), samples)
    for sample in samples:
        pred = sample['pred_panoptic_seg']
        pred['sem_seg'][pred['sem_seg'] == VOID_LABEL] = 255
        pred['ignore_index'] = 255
    assert evaluate(PanopticQuality(**arguments), samples) == expected


def test_missing_ground_truth(tiny_set: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, samples = tiny_set
    monkeypatch.setenv('PAPERZOO_DATA', '/none')
    for key in arguments:
        with pytest.raises(
            UserError, match=rf"{key}='data/x'.*/none/x.*evaluator.{key}"
        ):
            PanopticQuality(**{**arguments, key: 'data/x'})
    metric = PanopticQuality(**arguments)
    with pytest.raises(UserError, match=r'image 7 is not in .*panoptic\.json'):
        metric.process({}, [{**samples[0], 'img_id': 7}])
    Path(arguments['seg_prefix'], '40.png').unlink()
    with pytest.raises(UserError, match=r'not found.*40\.png'):
        metric.process({}, samples)


@pytest.mark.parametrize('key', ['classes', 'thing_classes'])
def test_classes_that_disagree_are_both_named(tiny_set: Any, key: str) -> None:
    arguments, samples = tiny_set
    metric = PanopticQuality(**arguments)
    with pytest.raises(UserError, match=rf"'{key}'.*'cow'.*panoptic\.json.*'dog'"):
        evaluate(metric, samples, {**META, key: ('cat', 'cow')})


def test_a_prediction_of_another_size(tiny_set: Any) -> None:
    arguments, samples = tiny_set
    pred = samples[0]['pred_panoptic_seg']
    pred['sem_seg'] = pred['sem_seg'][:, :4]
    with pytest.raises(
        UserError, match=r'image 40.*\(4, 12\), 40.png \(8, 12\).*rescale'
    ):
        PanopticQuality(**arguments).process({}, samples)


@pytest.mark.parametrize(
    ('annotation', 'message'),
    [
        ({'id': 1, 'bbox': [0, 0, 1, 1]}, "no panoptic file.*'segments_info'"),
        ({'segments_info': [{'id': 0, 'category_id': 17}]}, 'image_id 3.*void'),
        ({'segments_info': [{'id': 5, 'category_id': 1}]}, 'image_id 3.*unknown'),
    ],
)
def test_annotation_files_that_do_not_fit(
    tmp_path: Path, annotation: dict, message: str
) -> None:
    entry = {'image_id': 3, 'file_name': '3.png', **annotation}
    file = tmp_path / 'a.json'
    file.write_text(json.dumps({'categories': CATEGORIES, 'annotations': [entry]}))
    with pytest.raises(UserError, match=message):
        PanopticQuality(str(file), str(tmp_path))
