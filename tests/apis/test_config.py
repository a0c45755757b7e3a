"""Finding a config by path or name, and the errors around it."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperzoo.apis.config import (
    class_names,
    config_folders,
    dump_config,
    find_config,
    load_config,
    palette,
)
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


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    return folder / 'a.py'


def test_an_error_in_a_base_names_the_base_its_line_and_who_inherits_it(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, a="_base_ = ['b.py']\n", b='x = 1\ny = (\n')
    with pytest.raises(UserError) as caught:
        load_config(file)
    first, line, inherited = str(caught.value).splitlines()
    assert first.startswith(f"config '{tmp_path / 'b.py'}', line 2: ")
    assert line == '  y = ('
    assert inherited == f"  inherited by '{file}'"


def test_an_error_of_a_config_that_runs_names_its_line(tmp_path: Path) -> None:
    pure = 'from mmengine.config import read_base\nwith read_base():\n'
    pure += '    from .b import *\nx = 1 / zero\n'
    for text in ("_base_ = ['b.py']\n\n\nx = 1 / 0\n", pure):
        file = written(tmp_path, a=text, b='zero = 0\n')
        with pytest.raises(UserError, match='line 4: ZeroDivisionError'):
            load_config(file)


def test_custom_imports_of_a_pure_python_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    own = "open(__file__ + '.ran', 'a').write('x')\n"
    pure = 'from mmengine.config import read_base\nwith read_base():\n'
    pure += '    from .b import *\ncustom_imports = dict(imports=["own_module"])\n'
    file = written(tmp_path, a=pure, b='x = 3\n', own_module=own)
    assert load_config(file).x == 3
    assert (tmp_path / 'own_module.py.ran').read_text() == 'x'
    # Named on the command line, as our own message recommends it.
    written(tmp_path, a='x = 4\n', other_module=own)
    load_config(file, {'custom_imports.imports': ['other_module']})
    assert (tmp_path / 'other_module.py.ran').read_text() == 'x'


def test_configs_in_a_circle_are_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, a="_base_ = 'b.py'\n", b="_base_ = ['./a.py']\n")
    with pytest.raises(UserError, match=r"circle: '.*a\.py' -> '.*b\.py' -> '.*a\.py'"):
        load_config(file)
    # Two ways to one base are none.
    file = written(tmp_path, a="_base_ = ['b.py']\n", b="_base_ = 'c.py'\n", c='x = 1')
    assert load_config(file).x == 1


def test_one_text_is_one_class() -> None:
    cfg = load_config('fcos_tiny_shapes', {'model.bbox_head.num_classes': 1})
    meta = {'dataset_meta': {'classes': 'cat'}, 5: 'no text'}
    assert class_names(cfg, meta) == ('cat',)


@pytest.mark.parametrize('wrong', [3, 'coco', [(-1, 999, 3)], [(float('inf'), 0, 0)]])
def test_colours_that_are_none_are_those_of_the_data(wrong: object) -> None:
    cfg = load_config('fcos_tiny_shapes')
    found = palette(cfg, {'dataset_meta': {'palette': wrong}})
    assert found == palette(cfg, {})
    assert found is not None


@pytest.mark.parametrize(
    'base', ['3', 'None', "[['a.py']]", "('b.py',)", "{'b.py': 1}"]
)
def test_a_base_that_is_no_path(base: str, tmp_path: Path) -> None:
    file = written(tmp_path, a=f'x = 1\n_base_ = {base}\n')
    with pytest.raises(UserError) as caught:
        load_config(file)
    start = f"config '{file}', line 2: _base_ = {base}: it must be the path of a config"
    assert str(caught.value).startswith(start)


def test_a_base_above_all_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pure = (
        'from mmengine.config import read_base\nwith read_base():\n    from {} import *'
    )
    file = written(tmp_path, a=pure.format('.' * 50 + 'x.y'))
    with pytest.raises(UserError, match=r"a\.py': a base of it is missing: .*x/y\.py"):
        load_config(file)
    # From the folder that it lies in, one above is not above all.
    (tmp_path / 'in').mkdir()
    written(tmp_path, b='z = 3')
    written(tmp_path / 'in', a=pure.format('..b'))
    monkeypatch.chdir(tmp_path / 'in')
    assert load_config('a.py').z == 3


def test_a_checkpoint_in_the_place_of_the_config(tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(b'x')
    with pytest.raises(UserError, match=r"a\.pth' is no config: .* config comes first"):
        load_config(tmp_path / 'a.pth')


@pytest.mark.parametrize('value', ['lambda: 3', 'type("A", (), {})'])
@pytest.mark.parametrize('ending', ['py', 'yml', 'json'])
def test_what_no_file_can_hold_is_not_written(
    value: str, ending: str, tmp_path: Path
) -> None:
    cfg = load_config(
        written(tmp_path, a=f'model = dict(heads=[dict(type={value})])\n')
    )
    with pytest.raises(UserError, match=r'a\.py: model\.heads\.0\.type = <'):
        dump_config(cfg, tmp_path / f'b.{ending}')
    assert not (tmp_path / f'b.{ending}').exists()


def test_a_seed_that_numpy_does_not_take() -> None:
    with pytest.raises(UserError, match=r'seed = .* from 0 to 4294967295'):
        load_config('fcos_tiny_shapes', {'randomness.seed': 2**32})
    load_config('fcos_tiny_shapes', {'randomness.seed': 2**32 - 1})
