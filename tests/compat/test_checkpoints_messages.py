import os
import zipfile
from collections import OrderedDict

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from paperzoo.compat import checkpoints
from paperzoo.errors import UserError

_load = CheckpointLoader.load_checkpoint


@pytest.fixture(autouse=True)
def _remedy():
    checkpoints.apply()


def test_an_unknown_name_of_a_scheme_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    with pytest.raises(UserError, match=r"'mmcls://vgg1' .*'mmcls://vgg1"):
        _load('mmcls://vgg1')
    with pytest.raises(UserError, match='open-mmlab://detectron2/resnet50_caffe'):
        _load('open-mmlab://detectron2/resnet50_caff')


def _damage(name, whole):
    cut = whole[: len(whole) // 2]
    return {'cut': cut, 'empty': b'', 'text': b'404: Not Found\n', 'zeros': bytes(99)}[
        name
    ]


@pytest.mark.parametrize('damage', ['cut', 'empty', 'text', 'zeros'])
@pytest.mark.parametrize('form', ['zip', 'legacy'])
def test_a_damaged_file_is_one_message(form, damage, tmp_path):
    path = tmp_path / 'epoch_3.pth'
    zipped = form == 'zip'
    weights = {'state_dict': {'w': torch.ones(999)}}
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(_damage(damage, path.read_bytes()))
    with pytest.raises(UserError, match=r'Copy or download it again$') as failure:
        _load(str(path))
    assert f"'{path}' cannot be read" in str(failure.value)
    assert f'{path.stat().st_size} bytes' in str(failure.value)
    assert 'weights_only' not in str(failure.value)  # torch's advice
    torch.save({}, tmp_path / 'epoch_1.pth')
    torch.save({}, tmp_path / 'epoch_2.pth')
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    with pytest.raises(UserError, match=r"earlier checkpoint.*'.*epoch_2\.pth'$"):
        _load(str(path))


def test_a_device_that_is_not_there_is_no_damage(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'w': torch.ones(2)}, path)
    with pytest.raises((RuntimeError, AssertionError)) as failure:
        _load(str(path), 'cuda:99')
    assert not isinstance(failure.value, UserError)


def test_a_missing_file_names_the_nearest(tmp_path):
    torch.save({}, tmp_path / 'epoch_12.pth')
    torch.save({}, tmp_path / 'best.pth')
    with pytest.raises(UserError, match=r"'epoch_13\.pth' in .*epoch_12\.pth'$"):
        _load(str(tmp_path / 'epoch_13.pth'))
    with pytest.raises(FileNotFoundError, match=r'nor the folder$'):
        _load(str(tmp_path / 'no' / 'epoch_13.pth'))
    with pytest.raises(UserError, match=r'is a folder. Name a file in it. The newest'):
        _load(str(tmp_path))


def _weights(path):
    torch.save({'state_dict': {'w': torch.ones(2)}}, path)
    return str(path)


def test_what_lies_beside_a_checkpoint_does_not_matter(tmp_path):
    path = _weights(tmp_path / 'epoch_1.pth')
    (tmp_path / 'latest.pth').symlink_to(tmp_path / 'gone')
    (tmp_path / 'loop.pth').symlink_to(tmp_path / 'loop.pth')
    (tmp_path / 'folder.pth').mkdir()
    os.mkfifo(tmp_path / 'pipe.pth')
    assert 'state_dict' in _load(path)
    # Neither for the hints, of which the file that is one is the only one.
    (tmp_path / 'epoch_2.pth').write_bytes(b'')
    with pytest.raises(UserError, match=r"cannot be read.*'.*epoch_1\.pth'$"):
        _load(str(tmp_path / 'epoch_2.pth'))
    with pytest.raises(UserError, match=r"The nearest there: '.*epoch_[12]\.pth'$"):
        _load(str(tmp_path / 'epoch_3.pth'))


def test_hints_are_looked_for_only_when_loading_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, '_neighbours', None)
    assert 'state_dict' in _load(_weights(tmp_path / 'epoch_1.pth'))


def test_a_closed_folder_gives_no_hint(tmp_path, monkeypatch):
    def closed(*_):
        raise PermissionError

    monkeypatch.setattr(checkpoints.Path, 'glob', closed)
    (tmp_path / 'epoch_2.pth').write_bytes(b'')
    with pytest.raises(UserError, match=r'Copy or download it again$'):
        _load(str(tmp_path / 'epoch_2.pth'))


@pytest.mark.parametrize('kind', ['pipe', 'zero', 'link'])
def test_a_pipe_or_a_device_is_not_read(tmp_path, kind):
    path = tmp_path / 'a.pth'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'link':
        path.symlink_to('/dev/zero')
    name = '/dev/zero' if kind == 'zero' else str(path)
    with pytest.raises(UserError, match='is no file but a pipe or a device'):
        _load(name)


@pytest.mark.parametrize('torchs', [True, False])
def test_a_zip_that_would_fill_the_memory_is_not_unpacked(
    tmp_path, monkeypatch, torchs
):
    monkeypatch.setattr(checkpoints, '_LARGE', 10**6)
    torch.save({'w': torch.zeros(10**6)}, tmp_path / 'whole.pth')
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as packed:
        if torchs:
            with zipfile.ZipFile(tmp_path / 'whole.pth') as whole:
                for name in whole.namelist():
                    packed.writestr(name, whole.read(name))
        else:
            packed.write(tmp_path / 'whole.pth', 'weights.pth')
    assert path.stat().st_size < 50_000
    with pytest.raises(UserError, match=r'bytes would become 0\.0 GB'):
        _load(str(path))
    assert _load(str(tmp_path / 'whole.pth'))['w'].shape == (10**6,)


@pytest.mark.parametrize('form', ['zip', 'legacy', 'zip of one'])
def test_keys_that_are_hashed_for_ever_are_refused(form, tmp_path):
    key: tuple = ()
    for _ in range(60):
        key = (key, key)
    path = tmp_path / 'w.pth'
    torch.save(_Pairs(key), path, _use_new_zipfile_serialization=form != 'legacy')
    if form == 'zip of one':
        with zipfile.ZipFile(tmp_path / 'outer.pth', 'w') as outer:
            outer.write(path, 'w.pth')
        path = tmp_path / 'outer.pth'
    with pytest.raises(UserError, match='hold one another') as caught:
        _load(str(path))
    assert str(path) in str(caught.value)


class _Pairs:
    """Becomes an OrderedDict with one key, which is hashed only when it is read."""

    def __init__(self, key):
        self.key = key

    def __reduce__(self):
        return OrderedDict, ([(self.key, 1)],)
