"""What is missing of a data set is listed, with the remedy."""

from pathlib import Path

import pytest

from paperzoo.data.layout import locate
from paperzoo.errors import UserError


def test_returns_the_resolved_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    (tmp_path / 'toy' / 'images').mkdir(parents=True)
    found = locate('data/toy', ['images', ''], 'images', 'a_config')
    assert found == str(tmp_path / 'toy')


def test_says_what_is_missing_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    (tmp_path / 'toy' / 'images').mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        locate('data/toy', ['images', 'labels'], 'pictures of toys', 'a_config')
    message = str(caught.value)
    assert f'found    {tmp_path / "toy" / "images"}' in message
    assert f'MISSING  {tmp_path / "toy" / "labels"}' in message
    for part in ("'data/toy'", 'PAPERZOO_DATA', 'pictures of toys', 'a_config.py'):
        assert part in message


def test_does_not_look_for_urls(tmp_path: Path) -> None:
    assert locate('s3://toys', ['images'], '', '') == 's3://toys'
    assert locate(str(tmp_path), ['s3://toys'], '', '') == str(tmp_path)
    with pytest.raises(UserError):
        locate(str(tmp_path), ['s3://toys', 'images'], '', '')
