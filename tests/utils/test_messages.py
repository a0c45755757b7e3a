"""What a user can mend ends a command as one message; other errors keep their place."""

import faulthandler
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from paperzoo.apis.images import ImageError
from paperzoo.errors import UserError
from paperzoo.utils.messages import explain, one_message


class Raises(Dataset):
    """A data set whose one item is an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


def from_a_worker(error: Exception) -> str | None:
    with pytest.raises(Exception, match='in DataLoader worker process 0') as caught:
        list(DataLoader(Raises(error), num_workers=1))
    return explain(caught.value)


def test_an_error_of_a_worker_arrives_as_its_message() -> None:
    said = 'a.png: label 9 is behind the last class\n  Take it out: it has no name'
    assert from_a_worker(UserError(said)) == said
    # This one cannot be made again from a text.
    assert from_a_worker(ImageError('a.jpg', 'cut off')) == "'a.jpg': cut off"
    missing = from_a_worker(FileNotFoundError(2, 'No such file', 'a.jpg'))
    assert missing == "[Errno 2] No such file: 'a.jpg'"
    assert from_a_worker(ValueError('a fault of ours')) is None


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (UserError('a'), 'a'),
        (OSError(28, 'No space left', 'a.json'), "'a.json': No space left"),
        (OSError(18, 'Cross-device', 'a', None, 'b'), "'a' and 'b': Cross-device"),
        (OSError(13, 'Denied', b'caf\xe9'), r"'caf\udce9': Denied"),
        (OSError('no route'), 'no route (when printing)'),
        (ImportError('libGL.so.1: no such file'), 'opencv-python-headless'),
        (ModuleNotFoundError("No module named 'x'", name='x'), 'paperzoo doctor'),
        (KeyError('a fault of ours'), None),
    ],
)
def test_what_is_told(error: Exception, message: str | None) -> None:
    told = explain(error)
    assert told is None if message is None else message in str(told)


def test_what_wraps_an_error_of_ours_tells_that() -> None:
    wrapped = RuntimeError('while saving')
    wrapped.__cause__ = UserError('the disk is full')
    assert explain(wrapped) == 'the disk is full'


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def main() -> None:
        raise KeyError('x')

    with pytest.raises(KeyError):
        one_message(main)


def run(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, **options
    )


def test_a_reader_that_has_seen_enough() -> None:
    command = f'{sys.executable} -m paperzoo --help | true'
    done = subprocess.run(
        ['bash', '-c', f'for i in 1 2 3; do {command}; done'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ''


def test_opencv_that_cannot_be_imported_is_one_message(tmp_path: Path) -> None:
    (tmp_path / 'cv2.py').write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file')"
    )
    code = (
        f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
        "sys.argv = ['paperzoo', 'browse', 'fcos_tiny_shapes']\n"
        'from paperzoo.cli import main; main()'
    )
    done = run(code, cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert done.stderr.count('paperzoo: ') == 1
    assert 'opencv-python-headless' in done.stderr


def test_an_interrupt_has_the_code_of_a_shell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise KeyboardInterrupt('3 of 9 images are in a.json')

    with pytest.raises(SystemExit) as caught:
        one_message(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith(
        'paperzoo: interrupted: 3 of 9 images are in a.json\n'
    )


def test_a_crash_says_where_whatever_started_the_command() -> None:
    faulthandler.disable()
    one_message(faulthandler.is_enabled)
    assert faulthandler.is_enabled()


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&-'])
def test_a_closed_stream_ends_nothing(closed: str, tmp_path: Path) -> None:
    code = (
        'import os, sys; from paperzoo.utils.messages import one_message\n'
        'def main():\n'
        "    print('said', flush=True); print('told', file=sys.stderr)\n"
        "    os.mkdir('done')\n"
        'one_message(main)'
    )
    (tmp_path / 'code.py').write_text(code)
    shell = f'{sys.executable} code.py {closed}'
    done = subprocess.run(['bash', '-c', shell], cwd=tmp_path, capture_output=True)
    assert (tmp_path / 'done').is_dir()
    assert done.returncode == 0
    assert b'told' not in done.stdout  # the one is no stand-in for the other
    assert b'Error' not in done.stderr


def test_kill_ends_a_command_as_an_interrupt_does(tmp_path: Path) -> None:
    code = (
        'import os, signal, tempfile; from paperzoo.utils.messages import one_message\n'
        'def main():\n'
        "    with tempfile.TemporaryDirectory(dir='.'):\n"
        '        os.kill(os.getpid(), signal.SIGTERM)\n'
        '        signal.pause()\n'
        # A command of `paperzoo` is one in another.
        'one_message(lambda: one_message(main))'
    )
    done = run(code, cwd=tmp_path)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == '\npaperzoo: interrupted\n'
    assert list(tmp_path.iterdir()) == []


def test_kill_ends_a_worker_at_once() -> None:
    code = (
        'import os, signal; from paperzoo.utils.messages import one_message\n'
        'def main():\n'
        '    if (child := os.fork()) == 0:\n'
        '        os.kill(os.getpid(), signal.SIGTERM)\n'
        '        os._exit(3)\n'
        '    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n'
        'one_message(main)'
    )
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, '-15\n', '')
