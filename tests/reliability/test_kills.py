"""Trainings that are killed at any moment end, once resumed, as if they were not.

The slow part kills each of three models at up to 20 moments of each of four phases: 12
combinations, about 40 minutes on a machine that does other work, too.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import paperzoo
from paperzoo.data.paths import ensure_generated

Run = Callable[..., int]

COMMON = {
    'train_cfg.max_epochs': 4,
    'train_cfg.val_interval': 1,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': 2,
    'default_hooks.checkpoint.save_best': 'score',
    'default_hooks.checkpoint.rule': 'greater',
    'log_level': 'WARNING',
}
IMAGES = {
    **COMMON,
    'train_dataloader.dataset.indices': 4,
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.indices': 2,
}
EPISODES = {
    **COMMON,
    'train_dataloader.dataset.episodes': 4,
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.episodes': 4,
    'val_dataloader.batch_size': 2,
}
MODELS = {
    'fcos': ('fcos_tiny_shapes', IMAGES),
    'knet': ('knet_tiny_shapes_instance', IMAGES),
    'dmf': ('dmf_tiny_glyphs', EPISODES),
}
PHASES = ('training', 'validation', 'saving', 'best')


@pytest.fixture(scope='module')
def run() -> Iterator[Run]:
    """Run a training in a process of its own; return its exit code."""
    for name in ('data/shapes/train', 'data/glyphs/train'):
        ensure_generated(name)
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name('kill_server.py'))],
        env={
            **os.environ,
            'PYTHONPATH': str(Path(paperzoo.__file__).parents[1]),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:

        def answer(model: str, work_dir: Path, **job: Any) -> int:
            config, options = MODELS[model]
            job = {'config': config, 'options': options, 'resume': False, **job}
            print(json.dumps({**job, 'work_dir': str(work_dir)}), file=server.stdin)
            server.stdin.flush()
            return int(server.stdout.readline())

        yield answer
        server.stdin.close()


@pytest.fixture(scope='module')
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the work dir of a training that was not interrupted."""
    done: dict[str, Path] = {}

    def once(model: str) -> Path:
        if model not in done:
            work_dir = tmp_path_factory.mktemp('whole') / model
            assert run(model, work_dir) == 0, said(work_dir)
            done[model] = work_dir
        return done[model]

    return once


def said(work_dir: Path) -> str:
    return work_dir.with_suffix('.log').read_text()[-3000:]


def files(work_dir: Path) -> set[str]:
    return {one.name for one in work_dir.iterdir() if one.is_file()}


def scores(work_dir: Path) -> dict[int, dict[str, float]]:
    """Return what was logged of each validation; twice is allowed, otherwise is not."""
    found: dict[int, dict[str, float]] = {}
    for log in work_dir.glob('*/vis_data/scalars.json'):
        for line in log.read_text().splitlines():
            row = json.loads(line) if line.endswith('}') else {}
            if 'score' in row:
                row = {k: v for k, v in row.items() if 'time' not in k}
                assert found.setdefault(row['step'], row) == row
    return found


def assert_same(ours: Path, theirs: Path) -> None:
    """Check weights, optimizer, best checkpoint, logged metrics and files."""
    assert files(ours) == files(theirs), said(ours)
    assert files(ours) >= {'best_score_epoch_4.pth', 'epoch_3.pth', 'epoch_4.pth'}
    for file in theirs.glob('*.pth'):
        one = torch.load(ours / file.name, weights_only=True)
        other = torch.load(file, weights_only=True)
        for key in ('state_dict', 'optimizer'):
            assert_close(one.get(key), other.get(key), rtol=0, atol=0)
        assert one.get('param_schedulers') == other.get('param_schedulers')
        assert one['meta']['epoch'] == other['meta']['epoch']
        for key in ('best_score', 'keep_ckpt_ids'):
            hubs = (one['message_hub'], other['message_hub'])
            mine, right = (hub['runtime_info'][key] for hub in hubs)
            assert mine == right
    assert scores(ours) == scores(theirs)
    assert set(scores(ours)) == {1, 2, 3, 4}


def kill_and_resume(run: Run, model: str, folder: Path, moment: list) -> Path:
    work_dir = folder / model
    assert run(model, work_dir, kill=moment) == -9, said(work_dir)
    assert run(model, work_dir, resume=True) == 0, said(work_dir)
    return work_dir


# In FCOS the epoch's checkpoint has not yet taken note of the best; in K-Net the second
# epoch is being validated; in DMF an outdated checkpoint is about to be removed.
@pytest.mark.parametrize(
    ('model', 'phase', 'share'),
    [
        ('knet', 'validation', 0.4),
        pytest.param('fcos', 'best', 0.35, marks=pytest.mark.slow),
        pytest.param('dmf', 'saving', 0.99, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed(
    run: Run, whole: Callable, tmp_path: Path, model: str, phase: str, share: float
) -> None:
    theirs = whole(model)
    moments = json.loads(theirs.with_suffix('.json').read_text())[phase]
    moment = [phase, 1 + int(share * moments)]
    ours = kill_and_resume(run, model, tmp_path, moment)
    assert_same(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('phase', PHASES)
def test_killed_at_twenty_moments(
    run: Run, whole: Callable, tmp_path: Path, model: str, phase: str
) -> None:
    theirs = whole(model)
    moments = json.loads(theirs.with_suffix('.json').read_text())[phase]
    draw = random.Random(f'{model} {phase}')
    for number in sorted(draw.sample(range(1, moments + 1), min(20, moments))):
        folder = tmp_path / str(number)
        folder.mkdir()
        ours = kill_and_resume(run, model, folder, [phase, number])
        assert_same(ours, theirs)
