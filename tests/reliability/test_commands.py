"""Every command meets every kind of trouble: one message, whole files, nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reliability.commands import COMMANDS, GOES_ON, KINDS, WRITES, Case, Kind, table
from reliability.toys import copied, results_of, toys

from paperzoo.cli import commands
from paperzoo.preflight.image_files import is_broken

PAIRS = [(kind, command) for kind in KINDS for command in kind.commands]
# Some kinds of each group, each with one command, and each command with some kinds; the
# rest is slow.
QUICK = {
    (kind.name, kind.commands[number % len(kind.commands)])
    for number, kind in enumerate(KINDS)
    if number % 5 == 0
}


@pytest.fixture(scope='session')
def folder() -> Iterator[Path]:
    with toys() as made:
        yield made


@pytest.fixture(scope='session')
def ask() -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name('server.py')],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
    )
    assert server.stdin
    assert server.stdout

    def asked(task: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(task), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    yield asked
    server.stdin.close()
    server.wait(30)


def case_of(folder: Path, kind: Kind, command: str) -> Case:
    number = len(list(folder.iterdir()))
    own = copied(folder, f'{number}')
    case = Case(own, command, own / 'toy.py', own / 'out')
    kind.change(case)
    return case


def pair(kind: Kind, command: str) -> Any:
    slow = () if (kind.name, command) in QUICK else pytest.mark.slow
    return pytest.param(kind, command, id=f'{command}: {kind.name}', marks=slow)


@pytest.mark.parametrize(('kind', 'command'), [pair(*one) for one in PAIRS])
def test_how_it_ends(
    kind: Kind,
    command: str,
    folder: Path,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    case = case_of(folder, kind, command)
    task = {'cwd': str(case.folder), 'arguments': case.arguments(), **case.task}
    done = ask(task)
    said = done['out'] + done['err']
    assert 'Traceback' not in said, said
    assert 'Exception ignored' not in said, said
    assert 'Logging error' not in said, said
    if command == 'check':  # it prints all that it finds
        done['err'] += done['out'].replace('error: ', 'paperzoo: ', 1)
    message = [
        line for line in done['err'].splitlines() if line.startswith('paperzoo:')
    ]
    left = [str(one) for one in case.folder.rglob('*.tmp')]
    assert not left
    if kind.end(command) == GOES_ON:
        assert done['code'] == 0, said
        assert all(' is left out: ' in line for line in message), said
        if command in WRITES:
            assert wrote(case), said
        for name in case.names if kind.ends == GOES_ON else ():
            assert name in said, said
        return
    assert done['code'] == 1, said
    ended = [line for line in message if ' is left out: ' not in line]
    assert len(ended) == 1, said
    whole = done['err'][done['err'].index(ended[0]) :]
    assert any(name in whole for name in case.names), said
    if kind.group != 'the terminal':
        assert not half_written(case), half_written(case)


def wrote(case: Case) -> bool:
    # Beside what is there already, some write into a folder of their own.
    places = (case.out, case.out.with_name(f'{case.out.name}_2'))
    return any(one.exists() and any(one.iterdir()) for one in places)


def half_written(case: Case) -> list[str]:
    """Return the files that were begun and not ended."""
    if not os.path.isdir(case.out):
        return []
    files = [one for one in case.out.rglob('*') if one.is_file()]
    return [str(one) for one in files if not is_whole(one)]


def is_whole(file: Path) -> bool:
    if file.suffix == '.json' and file.name != 'scalars.json':
        return file.stat().st_size > 0 and bool(json.loads(file.read_text()))
    if file.suffix == '.html':
        return '</html>' in file.read_text()
    if file.suffix == '.pth':
        return zipfile.is_zipfile(file)
    return file.suffix not in ('.jpg', '.png') or not is_broken(file)


def test_no_command_is_forgotten() -> None:
    # What goes on until it is ended is met with trouble in tests/serve.
    assert {given[0] for given in COMMANDS.values()} | {'serve'} == set(commands())


def test_the_docs_show_this_table() -> None:
    docs = Path(__file__).parents[2] / 'docs' / 'reliability.md'
    assert table() in docs.read_text()


def a_hundred(case: Case) -> None:
    """Let there be a hundred images, two of them bad, and results of all."""
    images = case.folder / 'images'
    first, *others = sorted(images.iterdir())
    for one in others:
        one.unlink()
    for number in range(1, 100):
        shutil.copy(first, images / f'{number:02}.jpg')
    first.rename(images / '00.jpg')
    whole = (images / '07.jpg').read_bytes()
    (images / '07.jpg').write_bytes(whole[: len(whole) // 2])
    (images / '61.jpg').write_text('no image')
    results_of(images, case.folder / 'results.json')
    file = case.folder / 'results.json'
    content = json.loads(file.read_text())
    for number in (7, 61):  # without pixels it can do; not without a box
        content['annotations'][number]['bbox'] = [1, 2]
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    'command',
    ['predict', 'analyze', pytest.param('explain', marks=pytest.mark.slow)],
)
def test_two_bad_inputs_of_a_hundred(
    command: str, folder: Path, ask: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    kind = Kind('a hundred', 'images', (command,), a_hundred, GOES_ON)
    case = case_of(folder, kind, command)
    done = ask({'cwd': str(case.folder), 'arguments': case.arguments()})
    assert done['code'] == 0, done['err']
    said = [one for one in done['err'].splitlines() if ' is left out: ' in one]
    assert [name for name in ('07.jpg', '61.jpg') if name in '\n'.join(said)] == [
        '07.jpg',
        '61.jpg',
    ]
    assert len(said) == 2
    good = {f'{number:02}.jpg' for number in range(100)} - {'07.jpg', '61.jpg'}
    if command == 'explain':
        html = (case.out / 'page.html').read_text()
        assert set(re.findall(r'(\d\d\.jpg): ', html)) == good
        assert 'Which images are left out?' in html
        return
    name, key, failed = {
        'predict': ('predictions.json', 'images', 'failed'),
        'analyze': ('analysis.json', 'quality', 'left_out'),
    }[command]
    content = json.loads((case.out / name).read_text())
    assert {Path(one['file_name']).name for one in content[key]} == good
    assert len(content[key]) == 98
    assert [Path(one['file_name']).name for one in content[failed]] == [
        '07.jpg',
        '61.jpg',
    ]
    why = 'error' if command == 'predict' else 'reason'
    assert all(one[why] for one in content[failed])


class Hostile:
    """What runs a command when it is unpickled without a check."""

    def __reduce__(self) -> tuple:
        return os.system, ('touch it_ran',)


@pytest.mark.parametrize('forced', ['', '1'], ids=['checked', 'forced'])
@pytest.mark.parametrize('where', ['pickle', 'config'])
@pytest.mark.parametrize('command', ['train', 'test', 'predict', 'explain'])
def test_nothing_in_a_checkpoint_is_run(
    folder: Path,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    command: str,
    where: str,
    forced: str,
) -> None:
    own = copied(folder, f'{len(list(folder.iterdir()))}')
    case = Case(own, command, own / 'toy.py', own / 'out')
    whole = torch.load(own / 'w.pth', weights_only=True)
    whole |= {'optimizer': {}, 'param_schedulers': []}
    code = "__import__('os').system('touch it_ran')"
    whole['meta'] |= {'epoch': 0, 'iter': 0, 'cfg': code, 'config': code}
    hub = {'log_scalars': {}, 'runtime_info': {'cfg': code}, 'resumed_keys': {}}
    whole['message_hub'] = hub
    if where == 'pickle':
        whole['meta']['more'] = Hostile()
    torch.save(whole, own / 'w.pth')
    if command == 'train':
        case.options = ['--resume', str(own / 'w.pth')]
    environment = {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': forced} if forced else {}
    task = {'cwd': str(own), 'arguments': case.arguments()}
    done = ask({**task, 'environment': environment})
    assert not list(own.rglob('it_ran'))
    assert 'Traceback' not in done['err'], done['err']
    # Weights beside a config are used; their text is not looked at.
    refused = where == 'pickle' or command == 'train'
    assert done['code'] == (1 if refused else 0), done['err']
    assert ('w.pth' in done['err']) or not refused
