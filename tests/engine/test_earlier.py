"""A new training in a used work dir replaces nothing of the earlier one."""

from pathlib import Path
from typing import Any

from toy_training import settings, train

from paperzoo.engine.earlier import set_aside
from paperzoo.engine.leftovers import remove_unrecorded


def kept(folder: Path) -> dict[str, bytes]:
    files = (one for one in folder.iterdir() if one.is_file() and one.suffix != '.py')
    return {one.name: one.read_bytes() for one in files}


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    return {**settings(folder, save_best='score', rule='greater'), **options}


def test_what_the_earlier_training_wrote_is_whole(tmp_path: Path, capfd) -> None:
    train(arguments(tmp_path), stop=13)
    before = kept(tmp_path)
    assert 'epoch_3.pth' in before
    for name in ('mine.pth', 'notes.txt'):
        (tmp_path / name).write_text(name)
    again = arguments(tmp_path, log_level='WARNING')
    runner = train(again, stop=5, begin=set_aside)
    earlier = tmp_path / 'earlier_1'
    assert f'{len(before)} files of an earlier training are now in {earlier}' in (
        capfd.readouterr().out
    )
    assert kept(earlier) == before
    assert {'mine.pth', 'notes.txt', 'epoch_1.pth'} <= set(kept(tmp_path))
    assert 'epoch_3.pth' not in kept(tmp_path)
    remove_unrecorded(runner, resumed=0.0)
    assert kept(earlier) == before
    train(arguments(tmp_path), stop=1, begin=set_aside)
    assert 'epoch_1.pth' in kept(tmp_path / 'earlier_2')


def test_the_weights_to_begin_at_may_be_of_the_earlier_one(tmp_path: Path) -> None:
    train(arguments(tmp_path), stop=13)
    first = str(tmp_path / 'epoch_2.pth')
    runner = train(arguments(tmp_path, load_from=first), stop=1, begin=set_aside)
    assert runner._load_from == str(tmp_path / 'earlier_1' / 'epoch_2.pth')
    assert runner.iter == 1


def test_nothing_to_set_aside(tmp_path: Path) -> None:
    (tmp_path / 'last_validation').write_text('0')
    train(arguments(tmp_path), stop=1, begin=set_aside)
    assert not (tmp_path / 'earlier_1').exists()
