"""What the page says: of each task, of a threshold, of what cannot be looked at."""

import json
from pathlib import Path
from typing import Any

import cv2
import labelled_folders as made
import numpy as np
import pytest
import torch
from bombs import write_bomb
from exported_files import write_detector
from PIL import Image

import paperzoo
from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.inference import predictor_of
from paperzoo.errors import UserError
from paperzoo.serve import answers as module
from paperzoo.serve.answers import Answers


def model_of(name: str, **options: Any) -> ImageModel:
    """Return a model with random weights that keeps whatever it finds."""
    cfg = paperzoo.load_config(name, options)
    torch.manual_seed(0)
    return predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    return tmp_path / 'a.png'


@pytest.fixture
def fcos() -> ImageModel:
    return model_of('fcos_tiny_shapes', **{'model.test_cfg.score_thr': 0.0})


def test_a_detector(fcos: ImageModel, image: Path, tmp_path: Path) -> None:
    answers = Answers(fcos, tmp_path, {'checkpoint': 'w.pth'})
    assert answers.scored
    assert answers.unexplained == ''
    answer = answers.look(image, 0.0)
    expected = fcos(image, score=0.0)
    assert answer.said.endswith('(80 x 60 pixels)')
    assert len(answer.rows) == len(expected) > 0
    scores = [row[1] for row in answer.rows]
    assert scores == sorted(scores, reverse=True)
    assert cv2.imread(str(answer.picture)).shape == (60, 80, 3)
    written = json.loads(answer.records.read_text())
    assert written['images'][0]['file_name'] == 'a.png'
    assert written['info']['checkpoint'] == 'w.pth'
    assert written['info']['score'] == 0
    own = [
        {key: one[key] for key in one if key not in ('id', 'image_id')}
        for one in written['annotations']
    ]
    assert own == json.loads(json.dumps(expected.to_coco()))


def test_a_threshold_asks_the_model_once(
    fcos: ImageModel, image: Path, tmp_path: Path, monkeypatch
) -> None:
    answers = Answers(fcos, tmp_path)
    everything = answers.look(image, 0.0)
    middle = float(np.median([row[1] for row in everything.rows]))
    monkeypatch.setattr(type(fcos), 'attempt', None)  # a second look would fail
    some = answers.look(image, middle)
    assert 0 < len(some.rows) < len(everything.rows)
    assert min(row[1] for row in some.rows) >= middle - 0.001
    assert len(answers.look(image, 0.0).rows) == len(everything.rows)
    nothing = answers.look(image, 1.0)
    assert nothing.said == 'nothing that scores 1.00 or more (80 x 60 pixels)'
    assert nothing.rows == []
    assert nothing.records.is_file()


def test_what_cannot_be_looked_at(
    fcos: ImageModel, image: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    answers = Answers(fcos, tmp_path)
    bomb = write_bomb(tmp_path / 'bomb.png', 30_000)
    for told in (answers.look(bomb, 0.3), answers.explain(bomb, 0.3)):
        assert told.said.startswith('bomb.png: ')
        assert 'million pixels' in told.said
    assert capsys.readouterr().err == ''
    # A fault of ours is a line on the page; its traceback is on the terminal.
    monkeypatch.setattr(module, 'as_written', lambda *_: 1 / 0)
    answer = answers.look(image, 0.3)
    assert answer.said == 'a.png: ZeroDivisionError: division by zero'
    assert answer.picture is None
    assert 'in look' in capsys.readouterr().err


def test_the_inside_is_that_of_explain(
    fcos: ImageModel, image: Path, tmp_path: Path
) -> None:
    told = Answers(fcos, tmp_path).explain(image, 0.01)
    assert told.said == ''
    assert '<title>fcos_tiny_shapes on a.png</title>' in told.html
    assert told.file.name == 'a_explained.html'
    assert told.file.read_text() == told.html


@pytest.mark.parametrize(
    ('name', 'column'),
    [
        ('knet_tiny_shapes_instance', 'score'),
        ('knet_tiny_shapes_panoptic', 'share of the image'),
        ('knet_tiny_shapes_semantic', 'share of the image'),
    ],
)
def test_other_tasks(name: str, column: str, image: Path, tmp_path: Path) -> None:
    answers = Answers(model_of(name), tmp_path)
    assert answers.scored == (column == 'score')
    answer = answers.look(image, 0.0)
    assert answer.columns[1] == column
    records = json.loads(answer.records.read_text())['annotations']
    assert len(records) == len(answer.rows)
    assert all(one['segmentation']['size'] == [60, 80] for one in records)


def test_a_few_shot_model(image: Path, tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'classes', classes=3, images=2)
    model = model_of('protonet_tiny_glyphs')
    model.fit(tmp_path / 'classes')
    assert Answers(model, tmp_path).unexplained.startswith('the images of its classes')
    answers = Answers(model, tmp_path, support=str(tmp_path / 'classes'))
    assert not answers.scored
    assert answers.unexplained == ''
    Image.open(image).resize((60, 60)).save(image)
    answer = answers.look(image, 0.9)
    assert answer.rows[0][0] == answer.said.partition(':')[0]
    assert sum(row[1] for row in answer.rows) == pytest.approx(1, abs=0.002)
    told = answers.explain(image, 0.3)
    assert (told.said, told.file.name) == ('', 'a_explained.html')


def test_a_model_of_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        Answers(model_of('attention_tagging'), tmp_path)


def test_an_exported_file(image: Path, tmp_path: Path) -> None:
    model = paperzoo.load(write_detector(tmp_path / 'm.onnx'))
    answers = Answers(model, tmp_path)
    assert answers.unexplained.startswith('an exported file has no page')
    assert answers.look(image, 0.3).said == '1 dog (80 x 60 pixels)'
    assert [row[0] for row in answers.look(image, 0.1).rows] == ['dog', 'cat']


def test_old_answers_go(image: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, '_FOLDERS', 2)
    folder = tmp_path / 'files'
    folder.mkdir()
    answers = Answers(paperzoo.load(write_detector(tmp_path / 'm.onnx')), folder)
    kept = [answers.look(image, score / 10) for score in range(4)]
    assert [answer.records.is_file() for answer in kept] == [False] * 2 + [True] * 2
    assert len(list(folder.iterdir())) == 2
