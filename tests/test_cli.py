"""The package is light, and the command line answers without the heavy stack."""

import subprocess
import sys

import pytest

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


def test_unknown_command_ends_in_the_list_of_commands() -> None:
    done = run('-m', 'paperzoo', 'trian')
    assert done.returncode == 1
    assert "no command 'trian'" in done.stderr
    assert 'print-config' in done.stderr
    assert 'Traceback' not in done.stderr
