"""The command that renames foreign FCOS weights."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.tools import fcos_convert

WEIGHTS = {
    'module.rpn.head.cls_logits.weight': torch.arange(8.0).view(2, 4),
    'module.rpn.head.scales.0.scale': torch.tensor([2.0]),
    'module.pixel_mean': torch.zeros(3),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / 'theirs.pth'
    torch.save({'model': WEIGHTS, 'optimizer': {'lr': 0.1}, 'iteration': 90000}, file)
    return file


def test_weights_and_origin(source: Path, tmp_path: Path) -> None:
    target = tmp_path / 'new' / 'ours.pth'
    assert fcos_convert.convert(str(source), target) == ['pixel_mean']
    loaded = CheckpointLoader.load_checkpoint(str(target))
    expected = {
        'bbox_head.conv_cls.weight': torch.arange(8.0).view(2, 4),
        'bbox_head.scales.0.scale': torch.tensor(2.0),
    }
    assert_close(loaded['state_dict'], expected, rtol=0, atol=0)
    meta = loaded['meta']
    assert meta['converted_from'] == str(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert meta['converted_from_sha256'] == digest
    assert meta['left_out'] == ['pixel_mean']
    assert [file.name for file in target.parent.iterdir()] == ['ours.pth']


def test_nothing_is_overwritten(source: Path, tmp_path: Path) -> None:
    target = tmp_path / 'ours.pth'
    target.write_text('mine')
    with pytest.raises(UserError, match='exists already'):
        fcos_convert.convert(str(source), target)
    assert target.read_text() == 'mine'


def test_a_failed_write_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_: object, file: Any) -> None:
        file.write(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(UserError, match='disk full'):
        fcos_convert.convert(str(source), tmp_path / 'out' / 'ours.pth')
    assert not list((tmp_path / 'out').iterdir())


class Hostile:
    def __reduce__(self) -> tuple:
        return (exec, ('raise SystemExit("it ran")',))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    source = tmp_path / 'model.pkl'
    source.write_bytes(pickle.dumps({'model': Hostile()}))
    with pytest.raises(UserError, match='runs code when it is read'):
        fcos_convert.convert(str(source), tmp_path / 'ours.pth')


def test_a_hostile_checkpoint_is_refused(tmp_path: Path) -> None:
    source = tmp_path / 'model.pth'
    torch.save({'model': Hostile()}, source)
    with pytest.raises(UserError, match='Nothing in it was run'):
        fcos_convert.convert(str(source), tmp_path / 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()


def test_the_command(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'paperzoo', 'fcos-convert', str(source)]
    target = tmp_path / 'ours.pth'
    done = subprocess.run([*command, str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f'Written: {target} (2 weights)' in done.stdout
    assert 'conv_bias=True\n' in done.stdout
    assert 'No weights, left out: pixel_mean' in done.stdout
    again = subprocess.run([*command, str(target)], capture_output=True, text=True)
    assert again.returncode == 1
    assert 'exists already' in again.stderr
    assert 'Traceback' not in again.stderr


def test_an_unknown_weight_names_the_file(tmp_path: Path) -> None:
    source = tmp_path / 'other.pth'
    torch.save({'model': {'what.weight': torch.zeros(1)}}, source)
    with pytest.raises(UserError, match=r"other\.pth': 1 weights are not .*what\.wei"):
        fcos_convert.convert(str(source), tmp_path / 'ours.pth')
