"""Where data lies, and what a missing data set says."""

from pathlib import Path

import pytest

from paperzoo.data.coco import CocoDataset
from paperzoo.data.paths import ensure_generated, resolve
from paperzoo.errors import UserError


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


@pytest.mark.parametrize('name', ['shapes', 'glyphs'])
def test_a_generated_set_is_made_only_when_that_is_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Path] = []
    monkeypatch.setenv('PAPERZOO_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(f'paperzoo.data.{name}.generate_{name}', made.append)
    lies_at = str(tmp_path / 'cache' / name / 'train')
    assert resolve(f'data/{name}/train') == lies_at
    assert not made
    assert ensure_generated(f'data/{name}/train') == lies_at
    assert made == [tmp_path / 'cache' / name]
    assert ensure_generated('data/coco') == resolve('data/coco')
    assert len(made) == 1


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
