import os

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
