"""Finding a config by path or name, and the errors around it."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperzoo.apis.config import config_folders, find_config, load_config
from paperzoo.errors import UserError


@pytest.mark.parametrize('name', ['fcos_tiny_shapes', 'fcos_tiny_shapes.py'])
def test_bare_name_of_ours(name: str) -> None:
    found = find_config(name)
    assert found.name == 'fcos_tiny_shapes.py'
    assert found.parent.name == 'fcos'


@pytest.mark.parametrize(
    ('name', 'package'),
    [
        ('fcos_r50-caffe_fpn_gn-head_1x_coco', 'mmdet'),
        ('knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512', 'mmseg'),
    ],
)
def test_bare_name_of_mmdet_and_mmseg(name: str, package: str) -> None:
    assert package in find_config(name).parts


def test_path_wins_over_name(tmp_path: Path) -> None:
    file = tmp_path / 'fcos_tiny_shapes.py'
    file.write_text('')
    assert find_config(str(file)) == file


def test_misspelt_name_ends_in_one_message_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'Did you mean fcos_tiny_shapes\.py'):
        find_config('fcos_tiny_shaeps')
    done = subprocess.run(
        [sys.executable, '-m', 'paperzoo', 'train', 'fcos_tiny_shaeps'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "'fcos_tiny_shaeps'" in done.stderr
    assert 'Traceback' not in done.stderr


def test_basenames_of_configs_are_unique() -> None:
    names = [file.name for file in config_folders()[0].rglob('*.py')]
    assert names
    assert len(names) == len(set(names))


def test_a_config_names_a_module_of_the_folder_one_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'own_project').mkdir()
    (tmp_path / 'own_project' / 'part.py').write_text('class OwnPart:\n    pass\n')
    (tmp_path / 'own.py').write_text(
        "custom_imports = dict(imports=['own_project.part'])\nmodel = dict()\n"
    )
    monkeypatch.chdir(tmp_path)
    # As in a console script, where the working directory is not searched.
    path = [entry for entry in sys.path if Path(entry).resolve() != tmp_path]
    monkeypatch.setattr(sys, 'path', [entry for entry in path if entry])
    load_config('own.py')
    assert 'own_project.part' in sys.modules
    del sys.modules['own_project.part'], sys.modules['own_project']
