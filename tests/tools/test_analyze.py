"""From a test's samples through the JSON file to matrix and pictures."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

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
    [('r.json', 'paperzoo.DumpRecords'), ('r.pkl', 'DumpResults'), ('r.txt', None)],
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
