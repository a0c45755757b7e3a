"""The config in a checkpoint is data, whoever reads it; each here would run code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from toy_training import Noisy, NoisyData, settings, train

import paperzoo
from paperzoo.apis.config import load_config
from paperzoo.errors import UserError

RUNS = "open('it_ran', 'w').close()"
CODE = f'a = exec({RUNS!r})\n'
IMPORTS = "custom_imports = dict(imports=['marker'])\n"
BASE = "_base_ = ['./marker.py']\n"


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a module that leaves a trace when it is imported or run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path('marker.py').write_text(f'{RUNS}\nclass Runs:\n    pass\n')
    monkeypatch.delitem(sys.modules, 'marker', raising=False)


@pytest.fixture(params=['checked', 'forced'])
def _forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == 'forced':
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


def nothing_ran() -> bool:
    return not Path('it_ran').exists() and 'marker' not in sys.modules


@pytest.mark.parametrize('text', [CODE, BASE])
def test_a_text_that_is_more_than_data_is_refused(text: str) -> None:
    for whole in (text, 'b = 1\n' + text):
        with pytest.raises(UserError, match='more than names and values'):
            Config.fromstring(whole, '.py')
    assert nothing_ran()
    Path('a.py').write_text(text)
    Config.fromfile('a.py')  # the control: a file is code
    assert not nothing_ran()


@pytest.mark.parametrize(
    ('text', 'ending'),
    [
        (IMPORTS, '.py'),
        ('{"custom_imports": {"imports": ["marker"]}, "b": 1}', '.json'),
        ('custom_imports: {imports: [marker]}', '.yaml'),
    ],
)
def test_a_text_imports_nothing(text: str, ending: str) -> None:
    assert Config.fromstring(text, ending).custom_imports.imports == ['marker']
    assert nothing_ran()


@pytest.mark.parametrize(
    ('text', 'ending'),
    [
        ('{"_base_": "./marker.py"}', '.json'),
        ('_base_: ./marker.py', '.yaml'),
        ("a: !!python/object/apply:os.mkdir ['it_ran']", '.yml'),
        ('[1]', '.json'),
    ],
)
def test_json_and_yaml_as_text(text: str, ending: str) -> None:
    with pytest.raises(UserError, match='Nothing of it was run'):
        Config.fromstring(text, ending)
    assert nothing_ran()


@pytest.mark.parametrize('text', [None, b'a = 1', {'a': 1}])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(UserError, match='it is no text'):
        Config.fromstring(text, '.py')


def test_an_honest_text_is_read_as_before() -> None:
    cfg = load_config('knet_tiny_shapes_panoptic')
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.to_dict() == cfg.to_dict()


def toy_checkpoint(text: str, key: str = 'config') -> str:
    train(settings(Path('toy')), stop=4)
    checkpoint = torch.load('toy/epoch_1.pth', weights_only=True)
    checkpoint['meta'][key] = text
    checkpoint['message_hub']['runtime_info']['cfg'] = text
    torch.save(checkpoint, 'hostile.pth')
    return 'hostile.pth'


def resumed(work_dir: str, checkpoint: str) -> Runner:
    arguments = settings(Path(work_dir))
    runner = Runner(**arguments, resume=True, load_from=checkpoint)
    runner.train()
    return runner


def resumed_flexibly(work_dir: str, checkpoint: str) -> FlexibleRunner:
    given = settings(Path(work_dir))
    runner = FlexibleRunner(
        model=Noisy(),
        work_dir=work_dir,
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=NoisyData(),
            sampler=dict(type='DefaultSampler'),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=given['optim_wrapper'],
        train_cfg=dict(by_epoch=True, max_epochs=2),
        experiment_name=given['experiment_name'],
        log_level='ERROR',
        resume=True,
        load_from=checkpoint,
    )
    runner.train()
    return runner


@pytest.mark.usefixtures('_forced')
@pytest.mark.parametrize('resume', [resumed, resumed_flexibly])
def test_resuming_runs_nothing(resume: Callable[[str, str], Any]) -> None:
    with pytest.raises(UserError, match='line 1 is more than names and values'):
        resume('second', toy_checkpoint(CODE))
    assert nothing_ran()
    # Plain data; what it would import is not.
    runner = resume('third', toy_checkpoint(IMPORTS + 'gpu_ids = [0]'))
    assert runner.epoch in (2, 4)
    assert nothing_ran()


def test_the_processes_of_the_checkpoint_are_still_compared() -> None:
    with pytest.raises(RuntimeError, match='Number of GPUs'):
        resumed('second', toy_checkpoint('gpu_ids = [0, 1]'))


FCOS, FAST = 'fcos_tiny_shapes', 'fast_scnn_8xb4-160k_cityscapes-512x1024'


def stored(name: str, text: str | None = None, where: str = 'both') -> str:
    """Write a checkpoint with random weights and a text as its config."""
    cfg = load_config(name)
    model = paperzoo.build_model(cfg, 'cpu')
    text = cfg.pretty_text if text is None else text
    checkpoint: dict = {
        'state_dict': model.state_dict(),
        'meta': {'dataset_meta': {'classes': [str(i) for i in range(150)]}},
    }
    if where in ('both', 'meta'):
        checkpoint['meta'].update(cfg=text, config=text)
    if where in ('both', 'hub'):
        checkpoint['message_hub'] = {'runtime_info': {'cfg': text}}
    torch.save(checkpoint, 'a.pth')
    return 'a.pth'


def with_detectors(checkpoint: str) -> Any:
    from mmdet.apis import DetInferencer

    return DetInferencer(weights=checkpoint, device='cpu', show_progress=False)


def with_segmentors(checkpoint: str) -> Any:
    from mmseg.apis import MMSegInferencer

    return MMSegInferencer(None, weights=checkpoint, device='cpu')


def with_paperzoo(checkpoint: str) -> Any:
    return paperzoo.load(checkpoint, device='cpu')


BUILT = [
    CODE,
    "model = dict(type='marker.Runs')",
    "model = dict(type='os.system', command='touch it_ran')",
    "model = dict(type='FCOS', backbone=dict(type='marker.Runs'))",
    f"model = dict(type='FCOS', test_cfg=dict(nms=dict(type={RUNS!r})))",
    f"model = dict(type='FCOS', warp_mode={RUNS!r})",
    "model = dict(type='LAD', teacher_config='marker.py')",
]


@pytest.mark.usefixtures('_forced')
@pytest.mark.parametrize('name', [FCOS, FAST])
def test_a_checkpoint_beside_a_config_runs_nothing(name: str) -> None:
    from mmdet.apis import init_detector
    from mmseg.apis import init_model

    cfg = load_config(name, {'model.backbone.init_cfg': None})
    init = init_detector if name == FCOS else init_model
    for text in BUILT:
        model = init(cfg.copy(), stored(name, text), device='cpu')
        assert next(model.parameters()).isfinite().all()
    assert nothing_ran()


@pytest.mark.usefixtures('_forced')
@pytest.mark.parametrize('load', [with_detectors, with_segmentors, with_paperzoo])
@pytest.mark.parametrize('where', ['meta', 'hub'])
def test_inferencers_run_nothing(load: Callable[[str], Any], where: str) -> None:
    for text in BUILT:
        with pytest.raises(UserError):
            load(stored(FCOS, text, where))
        assert nothing_ran(), text


@pytest.mark.parametrize(
    'line',
    [
        "visualizer = dict(type='marker.Runs')",
        "visualizer = dict(type='mmengine.runner.Runner')",
        "test_dataloader = dict(dataset=dict(pipeline=[dict(type='marker.Runs')]))",
    ],
)
def test_neither_do_the_other_parts(line: str) -> None:
    text = load_config(FCOS).pretty_text
    with pytest.raises(UserError, match='in none of the registries'):
        with_detectors(stored(FCOS, f'{text}\n{line}'))
    assert nothing_ran()


def test_a_collate_function_is_not_looked_for() -> None:
    text = load_config(FCOS).pretty_text
    text += "\ntest_dataloader['collate_fn'] = 'marker.Runs'"
    with pytest.raises(UserError):
        with_detectors(stored(FCOS, text))
    cfg = load_config(FCOS)
    cfg.test_dataloader.collate_fn = 'marker.Runs'
    with_detectors(stored(FCOS, cfg.pretty_text))
    assert nothing_ran()


def test_the_visualizer_writes_nowhere() -> None:
    cfg = load_config(FCOS)
    cfg.visualizer = dict(
        type='DetLocalVisualizer',
        vis_backends=[dict(type='LocalVisBackend', save_dir='elsewhere')],
        save_dir='elsewhere',
    )
    visualizer = with_detectors(stored(FCOS, cfg.pretty_text)).visualizer
    assert type(visualizer).__name__ == 'DetLocalVisualizer'
    assert not visualizer._vis_backends
    assert not Path('elsewhere').exists()


def test_an_honest_checkpoint_still_predicts() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    found = with_detectors(stored(FCOS))(image, no_save_pred=True, no_save_vis=True)
    assert set(found['predictions'][0]) >= {'labels', 'scores', 'bboxes'}
    assert with_segmentors(stored(FAST))(image)['predictions'].shape == (64, 64)


def test_the_command_runs_nothing(tmp_path: Path) -> None:
    """In a process of its own, as a user would; all else in the checkpoint is whole."""

    def command(epochs: int, *more: str) -> subprocess.CompletedProcess[str]:
        options = ['train_dataloader.dataset.indices=2', 'val_cfg=None']
        options += ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0']
        options += ['val_dataloader=None', 'val_evaluator=None']
        return subprocess.run(
            [sys.executable, '-m', 'paperzoo', 'train', FCOS, '--work-dir', 'w', *more]
            + ['--cfg-options', *options, f'train_cfg.max_epochs={epochs}'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = command(1)
    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint = torch.load('w/epoch_1.pth', weights_only=True)
    checkpoint['meta']['config'] = CODE
    torch.save(checkpoint, 'it.pth')
    done = command(2, '--resume', 'it.pth')
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert 'line 1 is more than names and values' in done.stderr
    assert nothing_ran()
