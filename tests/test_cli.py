"""The package is light, and the command line answers without the heavy stack."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperzoo.cli import commands

HEAVY = "{'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'cv2'}"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize('module', ['paperzoo', 'paperzoo.cli'])
def test_import_loads_nothing_heavy(module: str) -> None:
    done = run('-c', f'import sys, {module}; print({HEAVY} & set(sys.modules))')
    assert done.stdout.strip() == 'set()', done.stderr


def test_help_lists_every_command_without_loading_torch() -> None:
    code = (
        'import sys; sys.argv = ["paperzoo", "--help"]\n'
        f'from paperzoo.cli import main; main(); print({HEAVY} & set(sys.modules))'
    )
    done = run('-c', code)
    assert done.stdout.rstrip().endswith('set()')
    for command in ('train', 'test', 'print-config'):
        assert f'\n  {command} ' in done.stdout


@pytest.mark.parametrize('command', sorted(commands()))
def test_help_of_a_command_loads_nothing_slow(command: str) -> None:
    code = (
        f'import atexit, sys; sys.argv = ["paperzoo", "{command}", "--help"]\n'
        'atexit.register(lambda: print({"numpy", "torch"} & set(sys.modules)))\n'
        'from paperzoo.cli import main; main()'
    )
    done = run('-c', code)
    assert done.stdout.startswith('usage: ')
    assert done.stdout.rstrip().endswith('set()')


def test_unknown_command_ends_in_the_list_of_commands() -> None:
    done = run('-m', 'paperzoo', 'trian')
    assert done.returncode == 1
    assert "no command 'trian'. Did you mean train?" in done.stderr
    assert 'print-config' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_crash_says_where_it_was(tmp_path: Path) -> None:
    script = tmp_path / 'crash.py'
    script.write_text('import os\nos.abort()\n')
    code = (
        'import pathlib, sys\nfrom paperzoo import cli\n'
        f'cli.commands = lambda: {{"crash": pathlib.Path({str(script)!r})}}\n'
        'sys.argv = ["paperzoo", "crash"]\ncli.main()\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert f'File "{script}", line 2' in done.stderr
