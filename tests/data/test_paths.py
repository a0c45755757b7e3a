"""Where data lies, and what a missing data set says."""

from pathlib import Path

import pytest

from paperzoo.data.coco import CocoDataset
from paperzoo.data.paths import resolve
from paperzoo.utils.errors import UserError


@pytest.fixture(autouse=True)
def data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    return tmp_path


def test_data_follows_the_variable(
    monkeypatch: pytest.MonkeyPatch, data_root: Path
) -> None:
    assert resolve('data/coco/') == str(data_root / 'coco')
    monkeypatch.delenv('PAPERZOO_DATA')
    assert resolve('data/coco/') == 'data/coco/'


@pytest.mark.parametrize('path', ['', '/abs/data/coco', 'other/coco', 's3://data/coco'])
def test_everything_else_stays_as_it_is(path: str) -> None:
    assert resolve(path) == path


def test_missing_data_set_says_what_where_and_what_runs_without(
    data_root: Path,
) -> None:
    (data_root / 'coco' / 'train2017').mkdir(parents=True)
    with pytest.raises(UserError) as error:
        CocoDataset(
            data_root='data/coco/',
            ann_file='annotations/a.json',
            data_prefix=dict(img='train2017/'),
        )
    message = str(error.value)
    assert f'MISSING  {data_root}/coco/annotations/a.json' in message
    assert f'found    {data_root}/coco/train2017' in message
    assert f'PAPERZOO_DATA={data_root}' in message
    assert 'data_root=PATH' in message
    assert 'fcos_tiny_shapes' in message
