"""The commands of README, docs and the papers' folders run as they stand.

A page's blocks run one after the other in a copy of `documented_home`, by bash. What
they say is compared with what the page shows, numbers left out: the models are smaller.
`SMALLER` is all that is changed in a command.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import warm_paperzoo
from documented import ROOT, Block, blocks, pages
from documented_home import write_home

EPISODES = ' '.join(
    f'{split}_dataloader.dataset.episodes=4' for split in ('train', 'val', 'test')
)
LENGTHS = ' '.join(
    f'{split}_dataloader.dataset.num=8' for split in ('train', 'val', 'test')
)
# What is searched in a command, and what takes its place.
SMALLER = {
    # mim needs a wheel: tests marked with `wheel` run it. It runs the same scripts.
    r'mim train paperzoo (\w+)\.py -l pytorch -G \d': r'torchrun --nproc-per-node 2 '
    r'-m paperzoo train \1 --launcher pytorch',
    r'mim train paperzoo (\w+)\.py': r'paperzoo train \1',
    r'mim test paperzoo (\w+)\.py -C': r'paperzoo test \1',
    r'mim run paperzoo fcos_targets (\w+)\.py': r'paperzoo fcos-targets \1',
    # Large models and sets, many processes, compilers.
    r'\bfcos_r50_fpn\b(?! -o)': 'fcos_tiny_shapes',
    r'--nproc-per-node 8': '--nproc-per-node 2',
    r'^(paperzoo train \S+ --compile)$': r'\1 aot_eager',
    r'compile\.mode=max-autotune': 'compile.backend=aot_eager',
    r'/shared/fcos': 'shared/fcos',
    # Goes on until Ctrl-C: tests/serve starts it and looks at its page.
    r'^paperzoo serve': ': paperzoo serve',
    # Long trainings.
    r'--epochs \d+': '--epochs 1',
    r'(paperzoo train cells\.py)(?!.* --epochs)': r'\1 --epochs 1',
}
# What is added to the options of a command.
SHORTER = {
    r'paperzoo (?:train|test) \w+_glyphs': EPISODES,
    r'paperzoo (?:train|test) attention_\w+': LENGTHS,
}
# What every run of the tests looks at; the others are slow.
QUICK = {'docs/ops.md', 'docs/quick_start.md'}
SHELL = ('bash', 'console', 'text')
Shell = Callable[[str, bool], str]


def smaller(command: str) -> str:
    """Return a command with small models in the place of large ones."""
    command = command.replace('\\\n', ' ')
    for pattern, new in SMALLER.items():
        command = re.sub(pattern, new, command, flags=re.MULTILINE)
    return '\n'.join(shorter(line) for line in command.splitlines())


def shorter(line: str) -> str:
    """Return a command with the options for a short run; a comment goes."""
    for pattern, options in SHORTER.items():
        if re.match(pattern, line):
            line, found, others = line.partition(' --cfg-options ')
            line = line.partition('  #')[0]
            line = f'{line} --cfg-options {options} {others if found else ""}'
    return line


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the output that is shown."""
    if block.language == 'bash':
        return [(block.text, '')]
    # A command goes on in the next line behind a backslash.
    parts = re.split(r'^\$ ((?:.*\\\n)*.*)\n', block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f'{block}: an output without its command'
    return list(zip(parts[1::2], parts[2::2], strict=True))


def needs_a_run(page: str) -> bool:
    return any(not block.note[0] for block in blocks(page, *SHELL))


def params() -> list:
    return [
        pytest.param(page, marks=[] if page in QUICK else pytest.mark.slow)
        for page in pages()
        if needs_a_run(page)
    ]


@pytest.fixture(scope='module')
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp('everything')
    write_home(home)
    return home


@pytest.fixture(scope='module')
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a `paperzoo` that does not import torch anew for each command."""
    folder = tmp_path_factory.mktemp('bin')
    script, socket = Path(warm_paperzoo.__file__), folder / 'socket'
    server = subprocess.Popen(
        [sys.executable, str(script), str(socket)],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )
    start = time.monotonic()
    while not socket.exists():
        assert server.poll() is None
        assert time.monotonic() < start + 300
        time.sleep(0.1)
    command = folder / 'paperzoo'
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {script} {socket} "$@"\n')
    command.chmod(0o755)
    yield folder
    server.terminate()
    server.wait()


@pytest.fixture
def home(everything: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(everything, tmp_path / 'home', symlinks=True))


@pytest.fixture
def shell(home: Path, bin_folder: Path) -> Shell:
    """Runs commands as somebody whose home this is."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('PAPERZOO_', 'PYTEST_', 'TORCH_HOME', 'XDG_'))
    }
    variables = {
        **own,
        'HOME': str(home),
        'PATH': f'{bin_folder}:{Path(sys.executable).parent}:{own["PATH"]}',
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        'COLUMNS': '100',
    }

    def run(command: str, fails: bool) -> str:
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', smaller(command)],
            cwd=home,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == int(fails), done.stdout[-4000:]
        assert 'Traceback' not in done.stdout
        return done.stdout

    return run


def assert_shown(expected: str, said: str, home: Path) -> None:
    """Compare an output with the one that a page shows.

    Args:
        expected: Of the page: `...` stands for anything, a number for any number.
        said: By the command.
        home: Which the page shortens.
    """
    said = said.replace(f'{home}/.cache', '~/.cache').replace(f'{ROOT}/', '')
    said = ' '.join(said.split())
    at = 0
    # Each line on its own: others may stand between them. A line that the page has
    # wrapped goes on in the next one.
    for part in re.split(r'\.\.\.|\n', expected):
        words = re.escape(' '.join(part.split()))
        pattern = re.sub(r'\d+(?:\\[.]\d+)?(?:e\\?[+-]?\d+)?', r'[-+\\d.e]+', words)
        found = re.compile(pattern).search(said, at)
        assert found, f'not said: {part}\nbut: {said[at : at + 3000]}'
        at = found.end()


def assert_part_of(text: str, file: Path) -> None:
    """Compare what is shown of a JSON file with it: the keys of its records."""
    content = json.loads(file.read_text('utf-8'))
    group = ''
    for line in text.splitlines():
        if opened := re.match(r'"(\w+)": \[$', line):
            group = opened[1]
        elif line.startswith('{"') and group:
            shown = json.loads(line.rstrip(','))
            assert {*shown} == {*content[group][0]}, group
        elif line.startswith('"'):
            name, shown = line.split(': ', 1)
            keys = re.findall(r'"(\w+)":', shown)
            assert {*keys} <= {*content[name.strip('"')]}, name


@pytest.mark.parametrize('page', params())
def test_the_commands_run(page: str, home: Path, shell: Shell) -> None:
    for block in blocks(page):
        kind, value = block.note
        if kind == 'shows':
            assert_part_of(block.text, home / value)
        elif block.language in SHELL and not kind:
            for command, expected in commands(block):
                print(f'{block}: {command}')
                fails = bool(re.search(r'^(paperzoo|error): ', expected, re.MULTILINE))
                # An image that is left out is said in the same way.
                fails = fails and 'is left out' not in expected
                assert_shown(expected, shell(command, fails), home)


def test_every_block_runs_or_says_why_not() -> None:
    others = {'python', 'diff', 'yaml', 'latex'}
    for page in pages():
        for block in blocks(page):
            kind, value = block.note
            assert block.language in {*SHELL, 'json', *others}, block
            if block.language == 'json':
                assert kind == 'shows', block
            assert kind != 'not run' or len(value.split()) > 3, block


def documented() -> dict[str, tuple[str, list[str]]]:
    """Return all commands of ours by a name for the test: tool and arguments."""
    found = {}
    for page in pages():
        for block in blocks(page, *SHELL):
            for line in block.text.replace('\\\n', ' ').splitlines():
                match = re.match(r'(?:\$ )?paperzoo ([a-z][a-z-]*)(?= |$)(.*)', line)
                if match:
                    found[f'{page}: {line.strip()}'] = (
                        match[1].replace('-', '_'),
                        shlex.split(match[2], comments=True),
                    )
    return found


COMMANDS = documented()


def test_there_are_many() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize('name', COMMANDS)
def test_its_parser_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, arguments = COMMANDS[name]
    monkeypatch.setattr(sys, 'argv', ['paperzoo', *arguments])
    module = import_module(f'paperzoo.tools.{tool}')
    if tool == 'doctor':
        assert not arguments  # it has no options
    else:
        module.parse_args()
