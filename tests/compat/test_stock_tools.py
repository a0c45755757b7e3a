"""mmdet's and mmseg's own scripts run on our configs; they travel in their wheels.

One of them runs in every run of the tests; the others are slow, for each is a process
that imports the stack.
"""

import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from paperzoo.apis.build import build_model
from paperzoo.apis.config import dump_config, find_config, load_config

# A foreign script on mmcv-lite gets the remedies by one line before its own.
START = (
    'import runpy, sys; import paperzoo.compat; sys.argv = sys.argv[1:]; '
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
FEW = ('--cfg-options', 'test_dataloader.dataset.indices=2')


def script(package: str, name: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    file = Path(str(spec.origin)).parent / '.mim' / 'tools' / name
    if not file.is_file():
        pytest.skip(f'{package} has come without its tools')
    return file


def run(folder: Path, package: str, name: str, *arguments: object) -> str:
    command = [sys.executable, '-c', START, script(package, name), *arguments]
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of small models, by config."""
    folder = tmp_path_factory.mktemp('weights')
    found = {}
    for name in ('fcos_tiny_shapes', 'knet_tiny_shapes_semantic'):
        torch.manual_seed(0)
        model = build_model(load_config(name), 'cpu')
        found[name] = folder / f'{name}.pth'
        torch.save({'state_dict': model.state_dict()}, found[name])
    return found


@pytest.fixture(scope='module')
def results(
    weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """What mmdet's test.py writes: its config with two images, and the results."""
    folder = tmp_path_factory.mktemp('results')
    name = 'fcos_tiny_shapes'
    given = find_config(name), weights[name]
    said = run(folder, 'mmdet', 'test.py', *given, '--out', 'found.pkl', *FEW)
    assert 'coco/bbox_mAP' in said
    return folder / 'work_dirs' / name / f'{name}.py', folder / 'found.pkl'


def test_mmdets_test_with_results(results: tuple[Path, Path]) -> None:
    found = pickle.loads(results[1].read_bytes())
    assert len(found) == 2
    assert {'bboxes', 'labels', 'scores'} <= set(found[0]['pred_instances'])


@pytest.mark.slow
@pytest.mark.parametrize('dumped', [False, True])
def test_mmdets_augmented_test(
    dumped: bool, weights: dict[str, Path], tmp_path: Path
) -> None:
    name = 'fcos_tiny_shapes'
    config = find_config(name)
    if dumped:
        config = dump_config(load_config(name), tmp_path / 'dump.py')
    said = run(tmp_path, 'mmdet', 'test.py', config, weights[name], '--tta', *FEW)
    assert 'coco/bbox_mAP' in said


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [(), ('--tta',)])
def test_mmsegs_test(
    arguments: tuple[str, ...], weights: dict[str, Path], tmp_path: Path
) -> None:
    name = 'knet_tiny_shapes_semantic'
    given = find_config(name), weights[name], *arguments
    said = run(tmp_path, 'mmseg', 'test.py', *given, *FEW)
    assert 'mIoU' in said


@pytest.mark.slow
def test_mmdets_analyses_of_results(results: tuple[Path, Path], tmp_path: Path) -> None:
    tools = 'analysis_tools'
    config, found = results
    # A dump is read as any config; it has the two images.
    assert Config.fromfile(config).test_dataloader.dataset.indices == 2
    run(tmp_path, 'mmdet', f'{tools}/confusion_matrix.py', config, found, 'matrix')
    assert (tmp_path / 'matrix' / 'confusion_matrix.png').is_file()
    source = find_config('fcos_tiny_shapes')
    given = source, found, 'shown', '--topk', 1, '--show-score-thr', 0, *FEW
    run(tmp_path, 'mmdet', f'{tools}/analyze_results.py', *given)
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 2  # best and worst
    run(tmp_path, 'mmdet', f'{tools}/eval_metric.py', config, found)


def test_values_that_refer_to_others_are_still_replaced() -> None:
    from mmdet.utils import replace_cfg_vals

    cfg = replace_cfg_vals(Config({'a': {'b': 3}, 'c': '${a.b}'}))
    assert cfg.c == 3
    plain = Config({'a': 1})
    assert replace_cfg_vals(plain) is plain


@pytest.mark.slow
def test_mmdets_browser_of_data(tmp_path: Path) -> None:
    options = '--cfg-options', 'train_dataloader.dataset.indices=2'
    given = find_config('fcos_tiny_shapes'), '--output-dir', 'seen', '--not-show'
    run(tmp_path, 'mmdet', 'analysis_tools/browse_dataset.py', *given, *options)
    assert len(list((tmp_path / 'seen').glob('*.jpg'))) == 2


@pytest.mark.slow
def test_mmdets_curves_of_a_log(tmp_path: Path) -> None:
    pytest.importorskip('seaborn', reason='mmdet draws them with seaborn')
    import paperzoo

    options = {
        'train_dataloader.dataset.indices': 4,
        'train_dataloader.batch_size': 2,
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 5,
        'default_hooks.logger.interval': 1,
    }
    paperzoo.train('fcos_tiny_shapes', cfg_options=options, work_dir=tmp_path / 'w')
    (log,) = (tmp_path / 'w').glob('*/vis_data/2*.json')
    given = 'plot_curve', log, '--keys', 'loss_cls', 'loss_bbox', '--out', 'losses.png'
    run(tmp_path, 'mmdet', 'analysis_tools/analyze_logs.py', *given)
    assert (tmp_path / 'losses.png').is_file()
    said = run(
        tmp_path, 'mmdet', 'analysis_tools/analyze_logs.py', 'cal_train_time', log
    )
    assert 'average iter time' in said
