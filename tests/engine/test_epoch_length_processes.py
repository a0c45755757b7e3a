"""A training of two processes goes on with one: at the same place in its epochs."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from two_processes import run, two_processes

from paperzoo.apis.config import load_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(get_device() != 'cpu', reason='two processes need two GPUs'),
]
# 12 images, two a step and process; the rate falls as a cosine over two epochs.
OPTIONS = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [8, 16, 32, 64],
    'train_dataloader.batch_size': 2,
    'train_dataloader.batch_sampler': None,
    'train_dataloader.dataset.ann_file': 'annotations/instances_val.json',
    'train_dataloader.dataset.data_prefix': {'img': 'val/'},
    'train_dataloader.dataset.indices': 12,
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None,
    'default_hooks.logger.interval': 1,
}
SCHEDULE = dict(
    type='CosineAnnealingLR', begin=0, T_max=2, end=2, convert_to_iter_based=True
)


def small_config(folder: Path) -> None:
    cfg: Config = load_config('fcos_tiny_shapes', OPTIONS, work_dir='work')
    cfg.param_scheduler = [SCHEDULE]
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    cfg.dump(folder / 'small.py')


def train(folder: Path, processes: int, epochs: int, *more: str) -> None:
    command = ['-m', 'paperzoo', 'train', 'small.py', '--work-dir', 'work', *more]
    options = ['--cfg-options', f'train_cfg.max_epochs={epochs}']
    if processes == 2:
        two_processes(*command, '--launcher', 'pytorch', *options, cwd=folder)
    else:
        run(sys.executable, *command, *options, cwd=folder)


def rates(folder: Path) -> dict[int, float]:
    """Return the learning rate of each step of the last run."""
    latest = max((folder / 'work').glob('*/vis_data/scalars.json'))
    rows = map(json.loads, latest.read_text().splitlines())
    return {row['step']: row['lr'] for row in rows if 'lr' in row}


@pytest.mark.parametrize(('first', 'then'), [(2, 1), (1, 2)])
def test_the_schedule_goes_on_at_the_same_epoch(
    tmp_path: Path, first: int, then: int
) -> None:
    small_config(tmp_path)
    steps = {1: 6, 2: 3}  # of an epoch
    train(tmp_path, first, 1)
    assert list(rates(tmp_path)) == list(range(1, steps[first] + 1))
    train(tmp_path, then, 2, '--resume')
    log = max((tmp_path / 'work').glob('*/*.log')).read_text()
    said = [one for one in log.splitlines() if 'number of processes' in one]
    assert len(said) == 1
    assert f'An epoch has {steps[then]} steps, not {steps[first]}' in said[0]
    assert f'goes on at step {steps[then]}' in said[0]
    whole = 2 * steps[then]
    expected = {
        step: 0.01 * (1 + math.cos(math.pi * (step - 1) / whole)) / 2
        for step in range(steps[then] + 1, whole + 1)
    }
    assert rates(tmp_path) == pytest.approx(expected)
    state = torch.load(tmp_path / 'work' / 'epoch_2.pth', weights_only=True)
    assert (state['meta']['epoch'], state['meta']['iter']) == (2, whole)
