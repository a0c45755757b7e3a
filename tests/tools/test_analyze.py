"""From a test's samples through the JSON file to matrix and pictures."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from paperzoo.apis.analysis import analyze as analyze_results
from paperzoo.apis.testing import set_test_options
from paperzoo.errors import UserError
from paperzoo.evaluation.analysis import read_results
from paperzoo.evaluation.dump import DumpRecords
from paperzoo.tools import analyze

CLASSES = ('cat', 'dog')
BOX, OTHER = [2.0, 2, 30, 30], [40.0, 2, 60, 30]


def objects(boxes: list, labels: list, scores: list | None = None) -> dict:
    made = {'bboxes': torch.tensor(boxes), 'labels': torch.tensor(labels)}
    return made if scores is None else {**made, 'scores': torch.tensor(scores)}


def write(folder: Path, samples: list[dict]) -> Path:
    for index, sample in enumerate(samples):
        file = folder / f'{index}.png'
        cv2.imwrite(str(file), np.full((40, 64, 3), 60 * index, np.uint8))
        sample.update(img_path=str(file), ori_shape=(40, 64))
    metric = DumpRecords(str(folder / 'results.json'))
    metric.dataset_meta = {'classes': CLASSES}
    metric.process({}, samples)
    assert metric.evaluate(len(samples)) == {}
    return folder / 'results.json'


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict:
    command = ['analyze', str(folder / 'results.json'), '--number', '2', *options]
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(folder)
    analyze.main()
    newest = max(folder.glob('analysis*/analysis.json'), key=str)
    return json.loads(newest.read_text())


def test_objects(tmp_path: Path, monkeypatch) -> None:
    right = {
        'gt_instances': objects([BOX], [0]),
        'pred_instances': objects([BOX, OTHER], [0, 1], [0.9, 0.1]),
    }
    confused = {
        'gt_instances': objects([BOX, OTHER], [0, 1]),
        'pred_instances': objects([BOX], [1], [0.8]),
    }
    write(tmp_path, [right, confused])
    record = run(tmp_path, monkeypatch)
    assert record['confusion'] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert record['names'] == ['cat', 'dog', 'nothing']
    assert record['unit'] == 'objects'
    worst, best = record['quality']
    assert worst['file_name'].endswith('1.png')
    assert (worst['quality'], best['quality']) == (0.0, pytest.approx(1.0))
    for name in ('confusion.png', 'worst.jpg', 'best.jpg'):
        assert cv2.imread(str(tmp_path / 'analysis' / name)) is not None

    # With the low scores the first image has an object too many.
    record = run(tmp_path, monkeypatch, '--score', '0')
    assert record['confusion'] == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert (tmp_path / 'analysis_2').is_dir()


def test_pixels(tmp_path: Path, monkeypatch) -> None:
    truth = torch.zeros(1, 40, 64, dtype=torch.long)
    truth[:, :, 32:] = 1
    truth[:, :10] = 255
    found = torch.zeros_like(truth)
    sample = {'gt_sem_seg': {'sem_seg': truth}, 'pred_sem_seg': {'sem_seg': found}}
    write(tmp_path, [sample, {**sample, 'pred_sem_seg': {'sem_seg': truth % 255}}])
    record = run(tmp_path, monkeypatch)
    half = 30 * 32
    assert record['confusion'] == [[2 * half, 0, 0], [half, half, 0], [0, 0, 0]]
    assert record['unit'] == 'pixels'
    assert [one['quality'] for one in record['quality']] == [0.25, 1.0]


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (None, 'cannot be read'),
        ('{', 'cannot be read'),
        ('[]', 'has no annotations'),
        ('{"images": []}', 'has no annotations, categories, kind, truth'),
        (
            '{"kind": "x", "images": [], "categories": [], "annotations": [], '
            '"truth": null}',
            'holds no truth',
        ),
        (
            '{"kind": "x", "images": [], "categories": [], "annotations": [], '
            '"truth": []}',
            'no images',
        ),
    ],
)
def test_what_is_no_result_is_one_message(tmp_path: Path, text, said) -> None:
    file = tmp_path / 'results.json'
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_results(str(file))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'--out results\.json'):
        read_results(str(tmp_path / 'results.pkl'))


def test_without_truth_nothing_is_invented(tmp_path: Path) -> None:
    file = write(tmp_path, [{'pred_instances': objects([BOX], [0], [0.5])}])
    with pytest.raises(UserError, match='LoadAnnotations'):
        read_results(str(file))


@pytest.mark.parametrize(
    ('out', 'kind'),
    [
        ('r.json', 'paperzoo.DumpRecords'),
        ('r.pkl', 'paperzoo.DumpPickle'),
        ('r.txt', None),
    ],
)
def test_the_option_of_test(out: str, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / 'c.py').write_text("test_evaluator = dict(type='CocoMetric')\n")
    cfg = Config.fromfile(str(tmp_path / 'c.py'))
    if kind is None:
        with pytest.raises(UserError, match=r'\.json or \.pkl'):
            set_test_options(cfg, 'c.pth', out=out)
        return
    set_test_options(cfg, 'c.pth', out=out)
    assert [one.type for one in cfg.test_evaluator] == ['CocoMetric', kind]


CAT = {'image_id': 0, 'category_id': 0, 'category': 'cat', 'bbox': [1, 1, 20, 20]}


def of_three(folder: Path, *records: Any, **changed: Any) -> Path:
    """Write results of three images; all have a box, and records come on top."""
    images = [
        {'id': n, 'file_name': f'{n}.jpg', 'height': 40, 'width': 60} for n in range(3)
    ]
    truth = [{**CAT, 'image_id': n} for n in range(3)]
    content = {
        'kind': 'instances',
        'images': images,
        'categories': [{'id': 0, 'name': 'cat'}],
        'truth': truth,
        'annotations': [*({**one, 'score': 0.9} for one in truth), *records],
        **changed,
    }
    (folder / 'r.json').write_text(json.dumps(content))
    return folder / 'r.json'


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        ({'category_id': 7}, 'category_id 7 of 1 class'),
        ({'category_id': -1}, 'category_id -1'),
        ({'category_id': '0'}, "category_id '0'"),
        ({'score': None}, 'score None'),
        ({'bbox': [1, 2, 3]}, r'bbox \[1, 2, 3\]'),
        ({'bbox': [1, 2, 3, float('nan')]}, r'bbox \[1, 2, 3, nan\]'),
        ({'bbox': None}, 'without a bbox'),
        ({'segmentation': [[1, 2, 3]]}, 'no run lengths'),
        ({'segmentation': {'size': [9, 9], 'counts': 'a'}}, r'of \[9, 9\] in an image'),
    ],
)
def test_one_bad_record_costs_its_image_only(
    wrong: dict, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = of_three(tmp_path, {**CAT, 'image_id': 1, 'score': 0.5, **wrong})
    record, _ = analyze_results(str(file), out=tmp_path / 'out')
    assert [Path(one['file_name']).name for one in record['quality']] == [
        '0.jpg',
        '2.jpg',
    ]
    (left_out,) = record['left_out']
    assert left_out['file_name'] == '1.jpg'
    assert re.search(reason, left_out['reason'])
    assert capsys.readouterr().err.count('1.jpg is left out') == 1


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'kind': 'poses'}, "its kind is 'poses'"),
        ({'images': {}}, 'no images'),
        ({'images': [3]}, "'images', item 0, has no 'id'"),
        ({'categories': ['cat']}, "'categories', item 0, has no 'name'"),
        ({'annotations': [{}]}, "'annotations', item 0, has no 'image_id'"),
        ({'truth': {}}, "'truth' is no list"),
        (
            {'truth': [{**CAT, 'category_id': 3, 'image_id': n} for n in range(3)]},
            'no im',
        ),
    ],
)
def test_results_that_are_none(changed: dict, message: str, tmp_path: Path) -> None:
    file = of_three(tmp_path, **changed)
    with pytest.raises(UserError, match=message):
        analyze_results(str(file), out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000])
def test_results_that_are_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / 'r.json').write_text(text)
    with pytest.raises(UserError, match=r'cannot be read as results'):
        analyze_results(str(tmp_path / 'r.json'), out=tmp_path / 'out')


def test_classes_in_another_order_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    swapped = [
        {
            'gt_instances': objects([BOX, OTHER], [0, 1]),
            'pred_instances': objects([BOX, OTHER], [1, 0], [0.9, 0.9]),
        }
        for _ in range(5)
    ]
    write(tmp_path, swapped)
    assert run(tmp_path, monkeypatch)['exchanged'] == [['cat', 'dog'], ['dog', 'cat']]
    said = capsys.readouterr().out
    assert 'warning: classes are found as each other (cat as dog, dog as cat)' in said


@pytest.mark.parametrize(
    ('given', 'wanted'),
    [
        (('--iou', 'nan'), "--iou: 'nan': it must be a number from 0 to 1"),
        (('--iou', '2'), "--iou: '2': it must be a number from 0 to 1"),
        (('--score', 'inf'), "--score: 'inf': it must be a number from 0 to 1"),
        (('--score', 'x'), "--score: 'x': it must be a number from 0 to 1"),
        (('--number=-3',), "--number: '-3': it must be a whole number from 1 on"),
    ],
)
def test_a_number_out_of_its_bounds(
    given: tuple[str, ...], wanted: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, 'argv', ['analyze', 'a.json', *given])
    with pytest.raises(SystemExit, match='2'):
        analyze.parse_args()
    assert wanted in capsys.readouterr().err
