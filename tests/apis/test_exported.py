"""Exported files as models: the results of load, without torch and mm*."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported_files import card_text, write_detector

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
STACK = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'scipy', 'matplotlib', 'rich')


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
    arrays = write_detector(tmp_path / 'c.onnx', text=card_text(task='few-shot'))
    with pytest.raises(UserError, match='takes arrays'):
        paperzoo.load(arrays)


def test_predict_needs_neither_torch_nor_mm(tmp_path: Path, image: Path) -> None:
    script = BLOCKED.format(blocked=STACK)
    out = tmp_path / 'out'
    file = write_detector(tmp_path / 'a.onnx')
    command = [sys.executable, '-c', script, file, image, '--out', out]
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
