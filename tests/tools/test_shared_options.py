"""Options that several scripts take: what none of them can use is told at once."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from paperzoo.apis.build import build_runner
from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.tools import print_config, test


def test_a_value_of_many_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    value = '[' * 2000 + ']' * 2000
    command = ['print_config', 'a.py', '--cfg-options', f'model.x={value}']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(UserError, match=r'--cfg-options model\.x: .* too many bracket'):
        print_config.parse_args()


@pytest.mark.parametrize('option', ['--show-images=-1', '--show-score=nan'])
def test_a_number_out_of_its_bounds(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', ['test', 'a.py', 'a.pth', option])
    with pytest.raises(SystemExit, match='2'):
        test.parse_args()
    name, value = option.split('=')
    assert f"{name}: '{value}': it must be a " in capsys.readouterr().err


def test_a_class_in_a_config_is_neither_printed_nor_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'a.py').write_text('class A: pass\nmodel = dict(type=A)\n')
    monkeypatch.setattr(sys, 'argv', ['print_config', str(tmp_path / 'a.py')])
    with pytest.raises(UserError, match=r"a\.py: A = .*, model\.type = <class 'A'>"):
        print_config.main()
    cfg = load_config(tmp_path / 'a.py', work_dir=tmp_path)
    with pytest.raises(UserError, match=r"model\.type = <class 'A'>"):
        build_runner(cfg, strict=False)


@pytest.mark.parametrize(
    ('command', 'option', 'value'),
    [
        ('predict', '--score', 'nan'),
        ('predict', '--score', '-0.1'),
        ('predict', '--batch-size', '0'),
        ('explain', '--score-thr', '-1'),
        ('serve', '--score', 'x'),
    ],
)
def test_numbers_that_cannot_be(
    command: str, option: str, value: str, monkeypatch, capsys
) -> None:
    tool = import_module(f'paperzoo.tools.{command}')
    given = [command, 'fcos_tiny_shapes', 'a.pth', 'a.png'][: 3 + (command != 'serve')]
    monkeypatch.setattr(sys, 'argv', [*given, option, value])
    with pytest.raises(SystemExit, match='2'):
        tool.parse_args()
    assert f"argument {option}: '{value}': it must be" in capsys.readouterr().err
