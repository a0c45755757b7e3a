"""One training in a work dir, whatever has become of the one before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import paperzoo
from paperzoo.engine import work_dir_lock
from paperzoo.engine.work_dir_lock import NOTE, own_work_dir
from paperzoo.errors import UserError

HOLD = """
import sys
from paperzoo.engine.work_dir_lock import own_work_dir
with own_work_dir(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""
RACE = """
import sys
from paperzoo.engine.work_dir_lock import own_work_dir
from paperzoo.errors import UserError
sys.stdin.readline()
try:
    with own_work_dir(sys.argv[1]):
        print('held', flush=True)
        sys.stdin.readline()
except UserError as error:
    print('refused', flush=True)
"""


def start(script: str, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-c', script, str(folder)],
        env={**os.environ, 'PYTHONPATH': str(Path(paperzoo.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_another_process_is_refused_and_then_not(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with start(HOLD, tmp_path) as other:
        assert other.stdout.readline() == 'held\n'
        note = json.loads((tmp_path / NOTE).read_text())
        with pytest.raises(UserError) as caught, own_work_dir(tmp_path):
            pass
        message = str(caught.value)
        place = f'on host {note["host"]} since {note["since"]}'
        who = f'in use by process {other.pid} {place}'
        assert who in message
        assert '--work-dir' in message
        assert '\n' not in message
        assert json.loads((tmp_path / NOTE).read_text()) == note
        other.stdin.close()
        other.wait()
    assert not (tmp_path / NOTE).exists()
    with own_work_dir(tmp_path):
        assert json.loads((tmp_path / NOTE).read_text())['process'] == os.getpid()
    assert not (tmp_path / NOTE).exists()
    assert capsys.readouterr().out == ''


def test_a_killed_process_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with start(HOLD, tmp_path) as other:
        assert other.stdout.readline() == 'held\n'
        other.kill()
    assert (tmp_path / NOTE).exists()
    with own_work_dir(tmp_path):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert f'taken over from process {other.pid}' in line
    assert not (tmp_path / NOTE).exists()


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    """Also when all of them find the note of a dead process."""
    with start(HOLD, tmp_path) as dead:
        dead.stdout.readline()
        dead.kill()
    racers = [start(RACE, tmp_path) for _ in range(4)]
    try:
        for one in racers:
            one.stdin.write('\n'), one.stdin.flush()
        answers = []
        for one in racers:
            answer = one.stdout.readline()
            answers.append(one.stdout.readline() if 'taken' in answer else answer)
        assert sorted(answers) == ['held\n'] + ['refused\n'] * 3
    finally:
        for one in racers:
            one.kill()
            one.wait()
            one.stdin.close()
            one.stdout.close()


def note(folder: Path, **changes: object) -> None:
    """Leave this process's note, changed."""
    with own_work_dir(folder):
        own = json.loads((folder / NOTE).read_text())
    (folder / NOTE).write_text(json.dumps({**own, **changes}))


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='only Linux says')
def test_a_number_that_another_process_got_is_no_lock(tmp_path: Path) -> None:
    note(tmp_path, started='another boot')
    with own_work_dir(tmp_path):
        pass


ELSEWHERE = {'host': 'elsewhere', 'process': 2**22 + 1}


def test_of_another_host_a_silent_one_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(work_dir_lock, '_PATIENCE', 0.5)
    note(tmp_path, **ELSEWHERE)
    with own_work_dir(tmp_path):
        assert json.loads((tmp_path / NOTE).read_text())['process'] == os.getpid()
    left, taken = capsys.readouterr().out.splitlines()
    assert 'no sign of life' in left
    assert 'taken over from process 4194305 on host elsewhere' in taken


def test_of_another_host_one_that_moves_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder's own beats, under another host's name, keep it."""
    monkeypatch.setattr(work_dir_lock, '_BEAT', 0.1)
    with own_work_dir(tmp_path):
        monkeypatch.setattr('socket.gethostname', lambda: 'elsewhere')
        with pytest.raises(UserError, match='in use by'), own_work_dir(tmp_path):
            pass


DAMAGED = [
    *('', '{', '[]', '{}', '[' * 10**5, '{"process": "x", "host": "y"}'),
    *('{"process": true, "host": "y"}', '{"process": 7, "host": 3}'),
]


@pytest.mark.parametrize('text', DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_note_is_no_lock(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    with own_work_dir(tmp_path):
        pass


@pytest.mark.parametrize('process', [-1, 0, 2**100])
def test_a_note_of_no_process_is_no_lock(tmp_path: Path, process: int) -> None:
    note(tmp_path, process=process)
    with own_work_dir(tmp_path):
        pass


def test_the_processes_of_a_training_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with own_work_dir(tmp_path, 'pytorch'):
        for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
            with monkeypatch.context() as patch:
                patch.setenv(name, '1')
                with own_work_dir(tmp_path, 'pytorch'):
                    pass
                # Started by a launcher, but each trains for itself.
                with pytest.raises(UserError), own_work_dir(tmp_path):
                    pass
        assert (tmp_path / NOTE).exists()


@pytest.mark.parametrize('place', ['/dev/null', '/proc/none'])
def test_a_place_that_cannot_be_written(place: str) -> None:
    with pytest.raises(UserError, match='cannot be written'), own_work_dir(place):
        pass


def test_an_error_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), own_work_dir(tmp_path):
        _ = 1 / 0
    assert not (tmp_path / NOTE).exists()


def test_train_takes_it(tmp_path: Path) -> None:
    with own_work_dir(tmp_path), pytest.raises(UserError, match='in use by process'):
        paperzoo.train('fcos_tiny_shapes', work_dir=tmp_path)
    assert not list(tmp_path.glob('*.py'))  # it has not begun
