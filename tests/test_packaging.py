"""The wheel holds what the tree holds; an editable install finds its configs."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import paperzoo

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked tree: a build must not write into the checkout."""
    folder = tmp_path_factory.mktemp('source')
    names = run('git', 'ls-files', '-co', '--exclude-standard', cwd=ROOT).splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def test_the_wheel_holds_what_the_tree_holds(source: Path, tmp_path: Path) -> None:
    run(
        *(sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp_path, '.'),
        cwd=source,
    )
    (wheel,) = tmp_path.glob('*.whl')
    held = {
        name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name
    }
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / 'paperzoo').rglob('*')
        if path.is_file()
    } | {
        'paperzoo/' + path.relative_to(source).as_posix()
        for path in (source / 'configs').rglob('*')
        if path.is_file()
    }
    assert held == expected
    assert not (source / 'build').exists()


def test_model_index_names_files_that_exist() -> None:
    index = yaml.safe_load((ROOT / 'paperzoo' / 'model-index.yml').read_text())
    for name in index['Import']:
        for model in yaml.safe_load((ROOT / name).read_text())['Models']:
            assert (ROOT / model['Config']).is_file()


def test_editable_install_runs_the_tools(source: Path, tmp_path: Path) -> None:
    """Where mim cannot: `mim train` looks for the package in site-packages."""
    venv.create(tmp_path / 'env', with_pip=False)
    python = tmp_path / 'env' / 'bin' / 'python'
    # Everything but paperzoo comes from the environment of the tests.
    others = tmp_path / 'others'
    others.mkdir()
    for entry in Path(yaml.__file__).parents[1].iterdir():
        if not entry.name.lower().startswith(('paperzoo', '__')):
            (others / entry.name).symlink_to(entry)
    (site,) = (tmp_path / 'env').glob('lib/python*/site-packages')
    (site / 'others.pth').write_text(str(others))
    run(
        *(python, '-m', 'pip', 'install', '--no-deps', '--no-build-isolation'),
        *('--no-index', '-q', '-e', '.'),
        cwd=source,
    )
    where = run(python, '-c', 'import paperzoo; print(paperzoo.__file__)', cwd=tmp_path)
    assert where.startswith(str(source))
    printed = run(
        python, '-m', 'paperzoo', 'print-config', 'fcos_tiny_shapes', cwd=tmp_path
    )
    assert 'paperzoo.fcos.FCOSHead' in printed


def test_mim_verbs_know_the_installed_wheel(tmp_path: Path) -> None:
    mim = Path(sys.executable).with_name('mim')
    listed = [line.split()[:2] for line in run(mim, 'list', cwd=tmp_path).splitlines()]
    assert ['paperzoo', paperzoo.__version__] in listed
    assert '37.1' in run(mim, 'search', 'paperzoo', cwd=tmp_path)
    printed = run(mim, 'run', 'paperzoo', 'print_config', 'fcos_r50_fpn', cwd=tmp_path)
    assert 'torchvision://resnet50' in printed
