"""Each module can be imported alone, as a process that was spawned does."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperzoo.data.layout import locate
from paperzoo.data.shapes import THING_CLASSES

PACKAGE = Path(__file__).parents[1] / 'paperzoo'

# Forked for each module from one interpreter that has what is slow and harmless. What
# follows once mmdet or mmseg is asked for, with the remedies in place, is theirs.
IMPORT_EACH = """
import importlib.machinery, os, sys
import cv2, hotcoco, jaxtyping, mmcv, mmengine.model.wrappers, mmengine.runner
import numpy, scipy.optimize, torch.distributed.fsdp


class Theirs:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmdet', 'mmseg') or name == 'mmcv._ext':
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        finders = [type(finder).__name__ for finder in sys.meta_path]
        os._exit(0 if 'StandInFinder' in finders else 3)


for name in sys.argv[1:]:
    if os.fork():
        if os.wait()[1] == 3 << 8:
            print(name, flush=True)
        continue
    sys.meta_path.insert(0, Theirs())
    importlib.import_module(name)
    os._exit(0)
"""


def modules() -> list[str]:
    """Return the names of all modules but the scripts of the command."""
    files = (file.relative_to(PACKAGE.parent) for file in PACKAGE.rglob('*.py'))
    names = ('.'.join(file.with_suffix('').parts) for file in sorted(files))
    left_out = ('paperzoo.tools', 'paperzoo.__main__')
    return [n.removesuffix('.__init__') for n in names if not n.startswith(left_out)]


@pytest.mark.slow
def test_every_module_applies_the_remedies_before_it_imports_mmdet_or_mmseg() -> None:
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', IMPORT_EACH, *modules()],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == ('', '')
    assert run.returncode == 0


def test_the_package_imports_neither_torch_nor_mmengine() -> None:
    code = 'import sys, paperzoo; print({"torch", "mmengine"} & set(sys.modules))'
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert run.stdout.strip() == 'set()', run.stderr


@pytest.mark.slow
@pytest.mark.parametrize('stock', [False, True])
def test_a_training_with_spawned_workers(stock: bool, tmp_path: Path) -> None:
    data = 'train_dataloader.dataset'
    options = [
        'env_cfg.mp_cfg.mp_start_method=spawn',
        'train_dataloader.num_workers=1',
        'train_dataloader.persistent_workers=True',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=5',
        f'{data}.indices=4',
    ]
    if stock:
        root = locate('data/shapes/', ['train/'], 'images', 'fcos_tiny_shapes')
        options += [f'{data}.type=mmdet.CocoDataset', f'{data}.data_root={root}']
        options.append(f'{data}.metainfo.classes=({",".join(THING_CLASSES)})')
    run = subprocess.run(
        [sys.executable, '-m', 'paperzoo', 'train', 'fcos_tiny_shapes']
        + ['--work-dir', str(tmp_path), '--cfg-options', *options],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / 'epoch_1.pth').is_file()
