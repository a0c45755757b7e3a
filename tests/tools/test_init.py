"""init: what it prints, what it refuses, and that its config works in a wheel, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import labelled_folders as made
import pytest

from paperzoo.apis import own_data
from paperzoo.data.formats import recognise
from paperzoo.errors import UserError
from paperzoo.tools import init

ROOT = Path(__file__).parents[2]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['init', *arguments])
    monkeypatch.chdir(folder)
    init.main()


def test_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made.write_yolo_labelimg(tmp_path / 'my cells', made.scenes(6))
    label = tmp_path / 'my cells/labels/scene 0.txt'
    label.write_text('7 0.5 0.5 0.1 0.1\n' * 8 + '0 0.5 0.5 0.1 0.1\n')
    run(monkeypatch, tmp_path, 'my cells', '-o', 'my config.py')
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'yolo: detection, 3 classes, 6 images (5 train, 1 val)'
    assert said[1] == (
        f'  left out: {label}, line 1: class 7, but the classes are 0 to 2'
    )
    assert said[6] == '  left out: 3 more'
    assert said[7].startswith('  note: the folder has no validation images: 20%')
    best = "work_dirs/'my config'"
    assert said[-8:] == [
        'Written: my config.py',
        'Next:',
        "  paperzoo check 'my config.py'",
        "  paperzoo browse 'my config.py'",
        "  paperzoo train 'my config.py'",
        f"  paperzoo test 'my config.py' {best} --out 'my config_results.json'",
        "  paperzoo analyze 'my config_results.json'",
        f"  paperzoo predict 'my config.py' {best} '{tmp_path}/my cells/images'",
    ]


def test_what_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match='there is no folder'):
        run(monkeypatch, tmp_path, 'nowhere', '-o', 'a.py')
    made.write_coco(tmp_path / 'cells', made.scenes(3))
    with pytest.raises(UserError, match='must end in'):
        run(monkeypatch, tmp_path, 'cells', '-o', 'a.json')
    run(monkeypatch, tmp_path, 'cells', '-o', 'a.py')
    with pytest.raises(UserError, match='exists already'):
        run(monkeypatch, tmp_path, 'cells', '-o', 'a.py')
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, 'cells')


def test_other_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = made.scenes(10)
    made.write_coco_cvat(tmp_path / 'cells', some, masks=True)
    made.write_voc(tmp_path / 'cells', some)
    options = ('--format', 'coco', '--task', 'detection', '--val', '0.5')
    run(monkeypatch, tmp_path, 'cells', '-o', 'a.py', *options, '--seed', '3')
    text = (tmp_path / 'a.py').read_text('utf-8')
    assert 'val=0.5, seed=3' in text
    assert 'from paperzoo.configs.fcos_r50_fpn import *' in text


def test_the_config_of_a_wheel(tmp_path: Path) -> None:
    """In a wheel the configs lie inside of the package, in a checkout beside it."""
    package = tmp_path / 'site/paperzoo'
    shutil.copytree(ROOT / 'paperzoo', package)
    shutil.copytree(ROOT / 'configs', package / 'configs')
    made.write_labelme(tmp_path / 'cells', made.scenes(4), masks=True)
    site = str(tmp_path / 'site')
    for command in (('init', 'cells', '-o', 'a.py'), ('print-config', 'a.py')):
        done = subprocess.run(
            [sys.executable, '-m', 'paperzoo', *command],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': site},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    assert "type='paperzoo.data.formats.detection.LabelMeDataset'" in done.stdout


def test_what_the_help_names_is_what_there_is() -> None:
    assert init.TASKS == own_data.TASKS
    assert tuple(recognise.FORMATS) == init.FORMATS
