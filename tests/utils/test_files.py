"""A file is whole, an earlier one is never lost, and JSON is JSON."""

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.errors import UserError
from paperzoo.utils import files
from paperzoo.utils.files import free_path, write_json, write_safely, write_text


def test_a_second_record_does_not_replace_the_first(tmp_path: Path) -> None:
    first = write_json(tmp_path / 'made' / 'x.json', {'ap': torch.tensor(0.5)})
    second = write_json(tmp_path / 'made' / 'x.json', {'ap': 0.25})
    assert (first.name, second.name) == ('x.json', 'x_2.json')
    assert json.loads(first.read_text()) == {'ap': 0.5}
    assert json.loads(second.read_text()) == {'ap': 0.25}
    assert sorted(path.name for path in first.parent.iterdir()) == [
        'x.json',
        'x_2.json',
    ]


def test_a_file_that_is_added_to_is_replaced(tmp_path: Path) -> None:
    for number in range(2):
        write_json(tmp_path / 'x.json', [number], replace=True)
    assert [file.name for file in tmp_path.iterdir()] == ['x.json']
    assert json.loads((tmp_path / 'x.json').read_text()) == [1]


def test_json_is_strict(tmp_path: Path) -> None:
    content: dict[Any, Any] = {
        'nan': float('nan'),
        'inf': [np.float32('inf'), -np.inf],
        'array': np.array([[1.5, np.nan]]),
        'scalar': (np.int64(3), np.bool_(True), np.float16(0.5)),
        'tensor': torch.tensor([1, 2]),
        'grad': torch.tensor(2.5, requires_grad=True),
        'path': Path('a', 'b'),
        np.int64(7): None,
        8: 'é',
    }
    text = write_json(tmp_path / 'x.json', content).read_text('ascii')

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {
        'nan': None,
        'inf': [None, None],
        'array': [[1.5, None]],
        'scalar': [3, True, 0.5],
        'tensor': [1, 2],
        'grad': 2.5,
        'path': os.path.join('a', 'b'),
        '7': None,
        '8': 'é',
    }


def test_one_record_a_line(tmp_path: Path) -> None:
    content = {'a': 1.0, 'rows': [{'x': np.nan}, {'x': 2}], 'none': []}
    file = write_json(tmp_path / 'x.json', content, one_a_line=True)
    lines = file.read_text().splitlines()
    assert '{"x": null},' in lines
    assert '{"x": 2}' in lines
    assert json.loads(file.read_text()) == {**content, 'rows': [{'x': None}, {'x': 2}]}
    rows = write_json(tmp_path / 'y.json', [[1, 2], 3], one_a_line=True)
    assert rows.read_text() == '[\n[1, 2],\n3\n]\n'


def test_written_results_are_json_and_nothing_is_replaced(tmp_path: Path) -> None:
    written = {'images': [{'id': 1}, {'id': 2}], 'truth': None, 'failed': []}
    written_to = [
        write_json(tmp_path / 'r.json', written, one_a_line=True) for _ in range(3)
    ]
    assert [file.name for file in written_to] == ['r.json', 'r_2.json', 'r_3.json']
    assert all(json.loads(file.read_text()) == written for file in written_to)
    assert len(list(tmp_path.iterdir())) == 3


def test_free_names_count_on(tmp_path: Path) -> None:
    for expected in ('run', 'run_2', 'run_3'):
        path = free_path(tmp_path / 'run')
        assert path.name == expected
        path.mkdir()
    # A link that leads nowhere also has the name.
    (tmp_path / 'x.jpg').symlink_to(tmp_path / 'nowhere')
    assert free_path(tmp_path / 'x.jpg').name == 'x_2.jpg'


@pytest.mark.parametrize('stage', ['write', 'fsync', 'replace'])
def test_whatever_fails_the_old_file_stays(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'made' / 'x.pth'
    write_safely(path, lambda file: file.write(b'old'))

    def fail(*args: Any) -> None:
        raise OSError(errno.EIO, 'no luck')

    if stage == 'fsync':
        monkeypatch.setattr(os, 'fsync', fail)
    if stage == 'replace':
        monkeypatch.setattr(Path, 'replace', fail)
    with pytest.raises(UserError, match='no luck'):
        write_safely(path, fail if stage == 'write' else lambda f: f.write(b'new'))
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b'old']


def test_who_stops_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / 'x.pth'
    write_safely(path, lambda file: file.write(b'old'))

    def interrupted(file: Any) -> None:
        file.write(b'half')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_safely(path, interrupted)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b'old']


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk(tmp_path: Path) -> None:
    write_text(tmp_path / 'x.json', 'old')
    files._partial(tmp_path / 'x.json').symlink_to('/dev/full')
    with pytest.raises(UserError) as caught:
        write_json(tmp_path / 'x.json', {'a': 1}, replace=True)
    message = str(caught.value)
    assert message.startswith(f"'{tmp_path / 'x.json'}' could not be written: No space")
    assert 'MB free). What was there before is whole. Make room' in message
    assert 'checkpoint' not in message
    assert [file.read_text() for file in tmp_path.iterdir()] == ['old']


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path, both, wrote = tmp_path / 'x.txt', threading.Barrier(2), []

    def write(text: bytes) -> None:
        def slowly(file: Any) -> None:
            file.write(text)
            both.wait(20)  # the other one is in the middle, too

        wrote.append(write_safely(path, slowly))

    threads = [threading.Thread(target=write, args=(t * 99,)) for t in (b'a', b'b')]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrote == [path, path]
    assert path.read_bytes() in (b'a' * 99, b'b' * 99)
    assert [one.name for one in tmp_path.iterdir()] == ['x.txt']


def test_what_the_dead_were_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    host = files._HOST
    left = tmp_path / f'a.pth.paperzoo-{host}-{dead.pid}-1.tmp'
    old = tmp_path / 'a.pth.paperzoo-elsewhere-1-1.tmp'
    kept = [
        tmp_path / f'a.pth.paperzoo-{host}-{os.getpid()}-1.tmp',
        tmp_path / f'b.pth.paperzoo-{host}-1-1.tmp',  # of another user
        tmp_path / 'a.pth.paperzoo-near-1-1.tmp',
        tmp_path / 'a.pth.tmp',
        tmp_path / f'c.paperzoo-{host}-{dead.pid}-1.tmp.pth',
    ]
    for one in (left, old, *kept):
        one.write_text('')
    linked = tmp_path / f'd.paperzoo-{host}-{dead.pid}-1.tmp'
    linked.symlink_to(kept[0])
    os.utime(old, (0, 0))
    file = write_text(tmp_path / 'new.txt', '')
    assert set(tmp_path.iterdir()) == {*kept, linked, file}


def test_long_names_and_names_that_are_no_utf8(tmp_path: Path) -> None:
    long = write_text(tmp_path / ('é' * 125 + '.json'), 'x')
    assert long.read_text() == 'x'
    odd = os.fsdecode(b'caf\xe9')
    assert json.loads(write_json(tmp_path / odd, {odd: odd}).read_text()) == {odd: odd}
    assert write_text(tmp_path / 'a', odd).read_text() == 'caf\\udce9'


def test_a_place_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    files.refuse_unwritable(tmp_path / 'new' / 'deeper' / 'x.json')
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / 'a', 'text')
    files.refuse_unwritable(tmp_path / 'a')  # is replaced
    with pytest.raises(UserError, match=r"x' cannot be written: '.*/a' is a file, not"):
        files.refuse_unwritable(tmp_path / 'a' / 'b' / 'x')


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / 'a', 'text')
    with pytest.raises(UserError, match=r"'.*/a' is a file, not a folder"):
        write_text(tmp_path / 'a' / 'b' / 'c.json', '')
    (tmp_path / 'd').mkdir()
    with pytest.raises(UserError, match=r"'.*/d' could not be .* a folder has this"):
        write_text(tmp_path / 'd', '')
    assert sorted(one.name for one in tmp_path.iterdir()) == ['a', 'd']


def test_a_folder_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *args: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, 'open', refuse)  # root may write everywhere
    with pytest.raises(UserError, match=r"x.md' could not .*: Permission denied"):
        write_text(tmp_path / 'x.md', '')
    assert files._message(tmp_path / 'x', OSError('odd')).startswith(
        f"'{tmp_path / 'x'}' could not be written: odd. "
    )


def test_two_that_write_one_free_name_at_once_both_keep_their_file(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(16) as pool:
        written = list(
            pool.map(lambda n: write_json(tmp_path / 'x.json', n), range(64))
        )
    assert len(set(written)) == 64
    assert sorted(json.loads(one.read_text()) for one in written) == list(range(64))
    assert len(list(tmp_path.iterdir())) == 64


def test_a_free_name_on_a_disk_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, 'link', refuse)
    names = [write_json(tmp_path / 'x.json', n).name for n in range(2)]
    assert names == ['x.json', 'x_2.json']
    assert len(list(tmp_path.iterdir())) == 2
