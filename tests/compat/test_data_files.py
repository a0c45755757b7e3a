"""YAML and pickles that mmengine loads: plain values come back, nothing is run."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from paperzoo.compat import data_files
from paperzoo.errors import UserError


class Runs:
    """Pickles as a call that leaves a file."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, ('it_ran',)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('ending', ['pkl', 'pickle'])
def test_a_pickle_runs_nothing(ending: str) -> None:
    file = Path(f'a.{ending}')
    file.write_bytes(pickle.dumps({'images': [Runs()]}))
    with pytest.raises(UserError, match=r'posix\.mkdir'):
        mmengine.load(str(file))
    with file.open('rb') as stream, pytest.raises(UserError, match=r'posix\.mkdir'):
        mmengine.load(stream, file_format=ending)
    assert not Path('it_ran').exists()
    pickle.loads(file.read_bytes())  # the control
    assert Path('it_ran').exists()


def test_a_tensor_in_a_pickle_runs_nothing() -> None:
    class Storage:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return torch.storage._load_from_bytes, (pickle.dumps(Runs()),)

    Path('a.pkl').write_bytes(pickle.dumps(Storage()))
    with pytest.raises(UserError):
        mmengine.load('a.pkl')
    assert not Path('it_ran').exists()


def test_proposals_and_results_come_as_they_were_written() -> None:
    tensor = torch.arange(6.0).view(2, 3).t()
    instances = InstanceData(bboxes=np.ones((2, 4)), scores=np.array([0.5, 1.0]))
    mmengine.dump({'a.jpg': instances, 'b': [{'x': tensor, 'y': (1, None)}]}, 'a.pkl')
    found = mmengine.load('a.pkl')
    assert isinstance(found['a.jpg'], InstanceData)
    np.testing.assert_array_equal(found['a.jpg'].bboxes, np.ones((2, 4)))
    assert len(found['a.jpg']) == 2
    assert found['b'][0]['x'].equal(tensor)
    assert found['b'][0]['y'] == (1, None)


@pytest.mark.parametrize(
    'text',
    [
        "a: !!python/object/apply:os.mkdir ['it_ran']",
        "a: !!python/object/new:os.mkdir ['it_ran']",
        'a: !!python/name:os.system',
        'a: !!python/module:antigravity',
    ],
)
def test_yaml_runs_nothing(text: str) -> None:
    Path('a.yaml').write_text(text)
    for load in (mmengine.load, Config.fromfile):
        with pytest.raises(Exception, match='could not determine a constructor'):
            load('a.yaml')
    assert os.listdir() == ['a.yaml']


def test_the_control_yaml_would_run() -> None:
    """Without the remedy, in a process of its own."""
    Path('a.yaml').write_text("a: !!python/object/apply:os.system ['mkdir -p it_ran']")
    code = 'from mmengine.config import Config; Config.fromfile("a.yaml")'
    subprocess.run([sys.executable, '-c', code], check=True)
    assert Path('it_ran').exists()


def test_yaml_comes_as_it_was_written() -> None:
    value: Any = {'scale': (3, (4, 5)), 'names': ['a', None, True], 'lr': 1e-3}
    mmengine.dump(value, 'a.yaml')
    assert mmengine.load('a.yaml') == value


def doubled(times: int, link: str) -> str:
    lines = ['a0: &a0 {x: 1}']
    for n in range(times):
        lines.append(f'a{n + 1}: &a{n + 1} ' + link.replace('@', f'*a{n}'))
    return '\n'.join(lines)


@pytest.mark.parametrize(
    'text',
    [
        doubled(40, '[@, @]'),
        doubled(40, '{<<: [@, @]}'),
        'a: &a [1, *a]',
        'a: &a {b: *a}',
    ],
    ids=['lists', 'merged', 'own list', 'own dict'],
)
def test_aliases_do_not_fill_the_memory(text: str) -> None:
    Path('a.yaml').write_text(text)
    for load in (mmengine.load, Config.fromfile):
        with pytest.raises(UserError, match='YAML whose aliases'):
            load('a.yaml')
    with pytest.raises(UserError, match='YAML whose aliases'):
        Config.fromstring(text, '.yaml')


def test_honest_aliases_are_followed() -> None:
    Path('a.yaml').write_text(doubled(3, '[@, @]') + '\nb: {<<: *a0, y: []}')
    found = mmengine.load('a.yaml')
    assert found['b'] == {'x': 1, 'y': []}
    assert found['a3'] == [found['a2']] * 2
    Path('empty.yaml').write_text('')
    assert mmengine.load('empty.yaml') is None


@pytest.mark.parametrize('depth', [101, 100_000])
def test_yaml_that_would_end_the_process(depth: int) -> None:
    text = '[' * depth + ']' * depth
    Path('a.yaml').write_text(text)
    with pytest.raises(UserError, match='in one another'):
        mmengine.load('a.yaml')
    with pytest.raises(UserError, match='in one another'):
        Config.fromstring(f'a: {text}', '.yaml')
    Path('a.yaml').write_text('[' * 100 + ']' * 100)
    assert len(mmengine.load('a.yaml')) == 1


def test_images_and_hierarchies_run_nothing() -> None:
    from mmdet.datasets import OpenImagesChallengeDataset
    from mmseg.utils import datafrombytes

    with pytest.raises(UserError, match=r'posix\.mkdir'):
        datafrombytes(pickle.dumps(Runs()), backend='pickle')
    image = np.ones((2, 3))
    found = datafrombytes(pickle.dumps(image), backend='pickle')
    np.testing.assert_array_equal(found, image)

    read = OpenImagesChallengeDataset._get_relation_matrix
    data_set: Any = SimpleNamespace(backend_args=None)
    with open('a.np', 'wb') as file:
        np.save(file, np.array([Runs()], object), allow_pickle=True)
    with pytest.raises(ValueError, match='allow_pickle=False'):
        read(data_set, 'a.np')
    with open('b.np', 'wb') as file:
        np.save(file, np.ones((3, 3)))
    assert read(data_set, 'b.np').shape == (2, 2)
    assert not Path('it_ran').exists()


def test_modules_that_are_there_already_are_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mmseg.utils.io as images

    monkeypatch.setattr(images, 'pickle', pickle)
    data_files.apply()
    with pytest.raises(UserError, match=r'posix\.mkdir'):
        images.datafrombytes(pickle.dumps(Runs()), backend='pickle')
    assert not Path('it_ran').exists()
