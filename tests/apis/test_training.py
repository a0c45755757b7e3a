"""train as a function: what it leaves behind, and that the next one is its own."""

import json
import os
from pathlib import Path

import pytest
from global_state import settings
from mmengine.config import Config
from mmengine.visualization import Visualizer

import paperzoo
from paperzoo.apis.testing import evaluate_checkpoint
from paperzoo.apis.training import (
    config_to_train,
    replay_step,
    set_training_options,
)
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError

SMALL = {
    'train_dataloader.dataset.indices': 4,
    'test_dataloader.dataset.indices': 2,
    'train_dataloader.batch_size': 2,
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 5,
    'default_hooks.logger.interval': 1,
    'log_level': 'ERROR',
}


def test_two_trainings_in_one_process_and_their_checkpoints(tmp_path: Path) -> None:
    before = settings()
    visualizers = dict(Visualizer._instance_dict)
    for name in ('first', 'second'):
        work = tmp_path / name
        done = paperzoo.train('fcos_tiny_shapes', cfg_options=SMALL, work_dir=work)
        assert done.work_dir == work
        assert done.checkpoint == work / 'epoch_1.pth'
        # Each log lies in its own folder, though MMEngine knows visualizers by name.
        (log,) = work.glob('*/vis_data/scalars.json')
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        assert [row['iter'] for row in rows if 'loss' in row] == [1, 2]
    assert settings() == before
    assert dict(Visualizer._instance_dict) == visualizers
    # The checkpoint is enough to predict.
    (image, *_) = sorted(Path(ensure_generated('data/shapes/val')).glob('*.jpg'))
    model = paperzoo.load(done.checkpoint, device='cpu', score=0.0)
    assert model.classes[0] == 'circle'
    assert len(model(image)) > 0
    metrics, file = evaluate_checkpoint(
        'fcos_tiny_shapes', done.checkpoint, cfg_options=SMALL, work_dir=work
    )
    record = json.loads(file.read_text())
    assert record['metrics'] == metrics
    assert (record['config'], record['images']) == ('fcos_tiny_shapes', 2)
    assert record['cfg_options'] == SMALL
    # A config that is in no file is tested, too.
    cfg = Config(paperzoo.load_config('fcos_tiny_shapes', SMALL).to_dict())
    assert evaluate_checkpoint(cfg, done.checkpoint, work_dir=work)[0] == metrics


def test_a_replay_leaves_the_config_of_the_training(tmp_path: Path) -> None:
    dumped = tmp_path / 'fcos_tiny_shapes.py'
    dumped.write_text('of the training')
    cfg = paperzoo.load_config('fcos_tiny_shapes', SMALL, work_dir=tmp_path)
    with pytest.raises(UserError, match=r'no_such\.pth'):
        replay_step(cfg, 'no_such.pth')
    assert dumped.read_text() == 'of the training'
    assert Path(cfg.filename).name == dumped.name  # messages name the true file


def test_a_given_config_is_used(tmp_path: Path) -> None:
    (tmp_path / 'mine.py').write_text('a = 1')
    cfg = Config.fromfile(str(tmp_path / 'mine.py'))
    assert config_to_train(cfg, {'a': 2}) is cfg
    assert (cfg.a, cfg.work_dir) == (2, str(Path('work_dirs', 'mine')))
    assert config_to_train(cfg, work_dir=tmp_path).work_dir == str(tmp_path)


@pytest.mark.parametrize('resume', [False, True, 'epoch_1.pth', Path('epoch_1.pth')])
def test_resume(resume: bool | str | Path, tmp_path: Path) -> None:
    (tmp_path / 'epoch_1.pth').touch()
    cfg = Config(dict(load_from='weights.pth', resume=False, work_dir=str(tmp_path)))
    set_training_options(cfg, resume=resume)
    expected = {False: 'weights.pth', True: None}.get(resume, 'epoch_1.pth')
    assert (cfg.resume, cfg.load_from) == (bool(resume), expected)


def test_nothing_to_resume(tmp_path: Path) -> None:
    cfg = Config(dict(load_from='weights.pth', resume=False, work_dir=str(tmp_path)))
    with pytest.warns(UserWarning, match='the training begins anew'):
        set_training_options(cfg, resume=True)
    assert (cfg.resume, cfg.load_from) == (False, 'weights.pth')
    with pytest.raises(UserError, match='resume is empty'):
        set_training_options(cfg, resume='')


def test_the_work_dir_itself_is_resumed(tmp_path: Path) -> None:
    first = tmp_path / 'first'
    paperzoo.train('fcos_tiny_shapes', cfg_options=SMALL, work_dir=first)
    whole = (first / 'epoch_1.pth').read_bytes()
    moved = tmp_path / os.fsdecode(b'caf\xe9')
    first.rename(moved)
    for epochs, damaged in ((2, None), (3, 'foreign')):
        if damaged:  # nor is the newest checkpoint whole
            (moved / 'last_checkpoint').unlink()
            (moved / 'last_checkpoint').symlink_to('/etc/passwd')
            (moved / 'epoch_9.pth').write_bytes(whole[:-100])
        done = paperzoo.train(
            'fcos_tiny_shapes',
            cfg_options={**SMALL, 'train_cfg.max_epochs': epochs},
            work_dir=moved,
            resume=True,
        )
        assert done.checkpoint == moved / f'epoch_{epochs}.pth'
        log = max(moved.glob('*/vis_data/scalars.json'))
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        steps = [row['iter'] for row in rows if 'loss' in row]
        assert steps == [2 * epochs - 1, 2 * epochs]
    assert (moved / 'epoch_1.pth').read_bytes() == whole


@pytest.mark.parametrize(
    'content',
    [{}, {'auto_scale_lr': None}, {'auto_scale_lr': {'base_batch_size': None}}],
)
def test_scaling_needs_a_base(content: dict) -> None:
    with pytest.raises(UserError, match='base_batch_size'):
        set_training_options(Config(content), auto_scale_lr=True)


def test_compiling_keeps_what_the_config_says_unless_told() -> None:
    for backend, expected in ((None, 'eager'), ('inductor', 'inductor')):
        cfg = Config(dict(compile=dict(backend='eager')))
        set_training_options(cfg, compile_backend=backend)
        assert 'compile' not in cfg
        assert cfg.custom_hooks[-1].backend == expected
