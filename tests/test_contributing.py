"""The paper that CONTRIBUTING adds: its files are made, tested and trained."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'<!-- (file|diff): (\S+) -->\n```\w+\n(.*?)```\n', re.DOTALL)
# Its own, its examples, and those of the house: who imports whom.
TESTS = ['-v', 'tests/diou', 'paperzoo/diou', 'tests/test_house.py']
TRAIN = [
    *('paperzoo', 'train', 'diou_fcos_tiny_shapes', '--work-dir', 'work'),
    '--cfg-options',
    'train_dataloader.dataset.indices=2',
    'train_dataloader.batch_size=2',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
]


def patched(diff: str, text: str) -> str:
    """Return the text with a diff applied, whose lines it must have once."""
    lines = diff.splitlines(keepends=True)
    before = ''.join(line[1:] for line in lines if not line.startswith('+'))
    after = ''.join(line[1:] for line in lines if not line.startswith('-'))
    assert text.count(before) == 1, f'not found once: {before}'
    return text.replace(before, after)


@pytest.fixture(scope='module')
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the files of CONTRIBUTING."""
    folder = tmp_path_factory.mktemp('repository')
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('paperzoo', 'configs'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    (folder / 'tests').mkdir()
    for name in ('pyproject.toml', 'setup.cfg', 'conftest.py', 'tests/test_house.py'):
        shutil.copy(ROOT / name, folder / name)
    blocks = BLOCK.findall((ROOT / 'CONTRIBUTING.md').read_text())
    assert [kind for kind, *_ in blocks].count('diff') == 4
    for kind, name, text in blocks:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if kind == 'file' else patched(text, file.read_text()))
    return folder


def run(repository: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=repository,
        env={**os.environ, 'PYTHONPATH': str(repository)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_its_test_passes_and_its_config_trains_for_a_step(repository: Path) -> None:
    # In one process, for importing everything takes longer than either.
    code = (
        f'import sys, pytest; assert pytest.main({TESTS}) == 0\n'
        f'from paperzoo.cli import main; sys.argv = {TRAIN}; main()'
    )
    said = run(repository, sys.executable, '-c', code)
    for file, count in (('tests/diou/test_losses', 3), ('paperzoo/diou/losses', 2)):
        assert len(re.findall(rf'^{file}\.py::.* PASSED', said, re.MULTILINE)) == count
    assert re.search(r'Epoch\(train\) +\[1\]\[1/1\].*loss_bbox: \d', said)
    assert (repository / 'work' / 'epoch_1.pth').is_file()
    dumped = (repository / 'work' / 'diou_fcos_tiny_shapes.py').read_text()
    assert 'paperzoo.diou.DIoULoss' in dumped


def test_its_metafile_is_read(repository: Path) -> None:
    index = yaml.safe_load((repository / 'paperzoo' / 'model-index.yml').read_text())
    assert 'configs/diou/metafile.yml' in index['Import']
    meta = yaml.safe_load((repository / 'configs/diou/metafile.yml').read_text())
    assert (repository / meta['Models'][0]['Config']).is_file()


def test_its_code_is_clean(repository: Path) -> None:
    ruff = str(Path(sys.executable).with_name('ruff'))
    if not Path(ruff).exists():
        pytest.skip('ruff is not installed')
    files = ('paperzoo/diou', 'tests/diou', 'configs/diou')
    run(repository, ruff, 'check', *files)
    run(repository, ruff, 'format', '--check', *files)
