"""The wheel holds what the tree holds and serves mim; an editable install works."""

import configparser
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import paperzoo

pytestmark = pytest.mark.wheel
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


def test_these_tests_import_the_wheel() -> None:
    """Not the checkout, of which they would say nothing about the wheel."""
    assert Path(paperzoo.__file__).is_relative_to(sys.prefix)


def test_every_package_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    listed = setup['options']['packages'].split()
    folders = {path.parent for path in (ROOT / 'paperzoo').rglob('*.py')}
    packages = {'.'.join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == sorted({*packages, 'paperzoo.configs'})


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


@pytest.fixture(scope='module')
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the tree."""
    folder = tmp_path_factory.mktemp('built')
    run(
        *(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder, '.'),
        cwd=source,
    )
    (wheel,) = folder.glob('*.whl')
    return wheel


def test_the_wheel_holds_what_the_tree_holds(source: Path, built: Path) -> None:
    wheel = built
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
    for name in ('py.typed', '__init__.pyi', 'model-index.yml'):
        assert f'paperzoo/{name}' in held
    assert not (source / 'build').exists()


@pytest.mark.slow
def test_the_install_lines_of_readme_resolve(built: Path, tmp_path: Path) -> None:
    """With nothing there before; a wheel and a file stand for the two addresses."""
    readme = (ROOT / 'README.md').read_text()
    (line,) = re.findall(r"^pip install '(paperzoo\[lite\] @ )\S+'$", readme, re.M)
    (file,) = re.findall(r'`-c https://\S+/(\S+\.txt)`', readme)
    venv.create(tmp_path / 'env', with_pip=True)
    pip = (tmp_path / 'env/bin/python', '-m', 'pip', 'install', '--dry-run', '-q')
    ways: dict[str, list[str]] = {
        'free': [],
        'exact': ['-c', (ROOT / file).as_uri()],
    }
    for name, options in ways.items():
        report = tmp_path / f'{name}.json'
        done = subprocess.run(
            [*map(str, pip), *options, '--report', report, line + built.as_uri()],
            capture_output=True,
            text=True,
            timeout=1200,
        )
        if re.search(r'connection|resolution|from versions: none', done.stderr, re.I):
            pytest.skip('there is no package index here')
        assert done.returncode == 0, done.stderr[-2000:]
        chosen = {
            one['metadata']['name'].lower(): one['metadata']['version']
            for one in json.loads(report.read_text())['install']
        }
        assert {'torch', 'mmengine', 'mmcv-lite', 'mmdet', 'mmsegmentation'} <= {
            *chosen
        }
    exact = dict(
        one.lower().split('==')
        for one in (ROOT / file).read_text().split()
        if '==' in one
    )
    assert chosen['mmdet'] == exact['mmdet']
    assert chosen['torch'].partition('+')[0] == exact['torch']


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


def test_the_types_of_the_wheel_are_known(tmp_path: Path) -> None:
    """Through `__init__.pyi` and `py.typed`: names that load lazily are not Any."""
    (tmp_path / 'user.py').write_text(
        'import paperzoo\n'
        'from paperzoo.fcos import centerness\n'
        'reveal_type(paperzoo.build_model)\n'
        'reveal_type(paperzoo.knet.KNet)\n'
        'reveal_type(centerness)\n'
    )
    said = run(sys.executable, '-m', 'mypy', 'user.py', cwd=tmp_path)
    revealed = re.findall(r'Revealed type is "(.*)"', said)
    assert len(revealed) == 3
    assert 'torch.nn.modules.module.Module' in revealed[0]
    assert 'paperzoo.knet.detector.KNet' in revealed[1]
    assert 'torch._tensor.Tensor' in revealed[2]


def test_mim_verbs_know_the_installed_wheel(tmp_path: Path) -> None:
    mim = Path(sys.executable).with_name('mim')
    listed = [line.split()[:2] for line in run(mim, 'list', cwd=tmp_path).splitlines()]
    assert ['paperzoo', paperzoo.__version__] in listed
    assert '37.1' in run(mim, 'search', 'paperzoo', cwd=tmp_path)
    printed = run(mim, 'run', 'paperzoo', 'print_config', 'fcos_r50_fpn', cwd=tmp_path)
    assert 'torchvision://resnet50' in printed


def test_mim_searches_a_grid(tmp_path: Path) -> None:
    run(
        *(Path(sys.executable).with_name('mim'), 'gridsearch', 'paperzoo'),
        *('fcos_tiny_shapes.py', '--work-dir', 'grid', '--gpus', '0'),
        *('--search-args', '--optim_wrapper.optimizer.lr 0.002', '--cfg-options'),
        *('train_dataloader.dataset.indices=2', 'train_dataloader.batch_size=2'),
        *('train_dataloader.num_workers=0', 'train_cfg.max_epochs=1'),
        *('train_dataloader.persistent_workers=False', 'train_cfg.val_interval=2'),
        cwd=tmp_path,
    )
    (checkpoint,) = tmp_path.glob('grid*/epoch_1.pth')
    assert checkpoint.parent.name.endswith('lr_0.002')


def test_the_hooks_of_git_use_the_same_ruff() -> None:
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    (version,) = (hook['rev'] for hook in hooks if 'ruff' in hook['repo'])
    constraints = (ROOT / 'constraints.txt').read_text().splitlines()
    assert f'ruff=={version.removeprefix("v")}' in constraints
