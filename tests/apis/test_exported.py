"""Exported files as models: the results of load, without torch and mm*."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported_files import (
    card_text,
    write_detector,
    write_few_shot,
    write_tagger,
)

import paperzoo
from paperzoo.errors import UserError

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Block())
sys.argv = ['paperzoo', 'predict', *sys.argv[1:]]
from paperzoo.cli import main
main()
"""
STACK = (
    *('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'),
    *('scipy', 'matplotlib', 'rich', 'jaxtyping'),
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / 'street.png'
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    cv2.imwrite(str(file), pixels)
    return file


def test_load_gives_results(tmp_path: Path, image: Path) -> None:
    model = paperzoo.load(write_detector(tmp_path / 'a.onnx'))
    assert repr(model).endswith('a.onnx, FCOS, 2 classes)')
    result = model(image)
    assert (result.width, result.height, result.names) == (60, 40, ['dog'])
    # What has the score 0 is no object, whatever the threshold.
    assert len(model(cv2.imread(str(image)), score=0.0)) == 2
    assert result.to_coco() == [
        {
            'category_id': 1,
            'category': 'dog',
            'bbox': [2.0, 3.0, 18.0, 27.0],
            'score': 0.9,
            'area': 486.0,
            'iscrowd': 0,
        }
    ]
    assert result.draw().size == (60, 40)
    assert result.palette is None
    assert result.names == ['dog']  # as before, whatever was made of it
    assert len(model([image, str(image)])) == 2


def test_results_are_drawn_in_the_colours_of_the_file(
    tmp_path: Path, image: Path
) -> None:
    colours = ((1, 2, 3), (4, 5, 6))
    file = write_detector(tmp_path / 'a.onnx', text=card_text(palette=colours))
    assert paperzoo.load(file)(image).palette == colours


def test_wrong_images_and_arguments_are_refused(tmp_path: Path, image: Path) -> None:
    file = write_detector(tmp_path / 'a.onnx')
    with pytest.raises(UserError, match='no config and no overrides'):
        paperzoo.load(file, 'fcos_tiny_shapes')
    with pytest.raises(UserError, match='on the CPU in float32'):
        paperzoo.load(file, device='cuda')
    with pytest.raises(UserError, match='on the CPU in float32'):
        paperzoo.load(file, precision='float16')
    with pytest.raises(UserError, match=r'Export the checkpoint as \.onnx'):
        paperzoo.load(tmp_path / 'a.pt2')
    model = paperzoo.load(file)
    with pytest.raises(UserError, match='there is no such file'):
        model(tmp_path / 'b.png')
    with pytest.raises(UserError, match='not uint8'):
        model(np.zeros((4, 4, 3)))
    both = model.attempt([tmp_path / 'b.png', image])
    assert isinstance(both[0], UserError)
    assert len(both[1]) == 1


@pytest.mark.parametrize('arguments', [(), ('--tile', '60', '40')])
def test_predict_needs_neither_torch_nor_mm(
    arguments: tuple[str, ...], tmp_path: Path, image: Path
) -> None:
    script = BLOCKED.format(blocked=STACK)
    out = tmp_path / 'out'
    file = write_detector(tmp_path / 'a.onnx')
    command = [sys.executable, '-c', script, file, image, '--out', out, *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((out / 'predictions.json').read_text())
    assert [one['category'] for one in found['annotations']] == ['dog']
    assert found['categories'][1] == {'id': 1, 'name': 'dog'}
    assert 'torch' not in found['info']['device']
    assert (out / found['images'][0]['overlay']).is_file()
    assert 'onnxruntime' in found['info']['versions']


COLOURS = {'blue': (250, 20, 10), 'green': (20, 250, 10), 'red': (10, 20, 250)}


@pytest.fixture
def support(tmp_path: Path) -> Path:
    root = tmp_path / 'support'
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.full((40, 40, 3), colour, np.uint8)
            cv2.imwrite(str(root / name / f'{number}.png'), pixels)
    return root


def test_a_few_shot_file_is_fitted_and_called(tmp_path: Path, support: Path) -> None:
    model = paperzoo.load(write_few_shot(tmp_path / 'a.onnx'))
    assert model.needs_support
    with pytest.raises(UserError, match=r'knows no classes yet: model\.fit'):
        model(support / 'blue' / '0.png')
    assert model.fit(support) is model
    assert repr(model).endswith('a.onnx, ProtoNet, 3 classes)')
    for name in COLOURS:
        result = model(support / name / '1.png')
        assert result.names == [name]
        assert result.probabilities.shape == (3,)
        assert result.probabilities.sum() == pytest.approx(1)
        assert result.boxes is result.masks is None
        assert result.to_coco()[0]['category'] == name
    # Fitted again, to other classes and to arrays.
    model.fit({'dark': np.zeros((60, 60, 3), np.uint8), 'red': [support / 'red/0.png']})
    assert model(support / 'red' / '1.png').names == ['red']


def test_few_shot_files_that_do_not_fit_are_refused(
    tmp_path: Path, support: Path
) -> None:
    file = write_few_shot(tmp_path / 'a.onnx')
    with pytest.raises(UserError, match=r"second file.*the first, '.*a\.onnx'"):
        paperzoo.load(tmp_path / 'a_episode.onnx')
    model = paperzoo.load(file)
    wide = np.zeros((40, 80, 3), np.uint8)
    with pytest.raises(UserError, match='becomes one of 56 x 28, and the file takes'):
        model.fit({'a': wide, 'b': wide})
    with pytest.raises(UserError, match='1 class: a'):
        model.fit({'a': wide})
    with pytest.raises(UserError, match='exported with --dynamic'):
        paperzoo.load(write_few_shot(file, free=False))
    for steps in (None, [['turn', 3]], [['middle', -1]], [['middle']], 'middle'):
        settings = {'part': 'embedding', 'steps': steps}
        with pytest.raises(UserError, match='has no steps'):
            paperzoo.load(write_few_shot(file, settings=settings))
    with pytest.raises(UserError, match=r"a_episode\.onnx' is of a ProtoNet, .* DMF"):
        paperzoo.load(write_few_shot(file, model='DMF'))
    (tmp_path / 'a_episode.onnx').unlink()
    with pytest.raises(UserError, match=r"a_episode\.onnx': there is no such file"):
        paperzoo.load(file)
    detector = card_text(task='few-shot', channels='rgb')
    write_few_shot(file)
    write_detector(file, text=detector)
    with pytest.raises(UserError, match='no embedding of a few-shot classifier'):
        paperzoo.load(file)


def test_a_sequence_file_is_called_like_its_model(tmp_path: Path) -> None:
    model = paperzoo.load(write_tagger(tmp_path / 'a.onnx'))
    result = model([4, 0, 2])
    assert result.labels.tolist() == [4, 0, 2]
    assert result.probabilities.shape == (3, 5)
    np.testing.assert_allclose(result.scores, 1 / (1 + 4 * np.exp(-2)), rtol=1e-6)
    assert [one.labels.tolist() for one in model([[1], [2, 3]])] == [[1], [2, 3]]
    with pytest.raises(UserError, match='from 0 to 4'):
        model([5])
    fixed = paperzoo.load(write_tagger(tmp_path / 'b.onnx', shape=(2, 4)))
    assert fixed([4, 0, 2]).labels.tolist() == [4, 0, 2]
    with pytest.raises(UserError, match='5 is longer than the 4'):
        fixed([1] * 5)
    for wrong in (0, 'x', None):
        with pytest.raises(UserError, match='does not take sequences as'):
            paperzoo.load(write_tagger(tmp_path / 'c.onnx', num_tokens=wrong))


def test_few_shot_files_need_neither_torch_nor_mm(
    tmp_path: Path, support: Path
) -> None:
    out = tmp_path / 'out'
    file = write_few_shot(tmp_path / 'a.onnx')
    image = support / 'red' / '0.png'
    script = BLOCKED.format(blocked=STACK)
    command = [sys.executable, '-c', script, file, image, '--out', out]
    done = subprocess.run(
        [*map(str, command), '--support', str(support)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((out / 'predictions.json').read_text())
    assert [one['category'] for one in found['annotations']] == ['red']


def test_threads_and_generators(tmp_path: Path) -> None:
    model = paperzoo.load(write_detector(tmp_path / 'a.onnx'))
    images = [np.full((30 + n, 60, 3), n, np.uint8) for n in range(12)]
    given = model(iter(images))
    assert iter(given) is given
    expected = [(one.height, one.boxes.tolist()) for one in given]
    with ThreadPoolExecutor(3) as pool:
        found = [(one.height, one.boxes.tolist()) for one in pool.map(model, images)]
    assert found == expected
    assert [height for height, _ in found] == list(range(30, 42))
