"""Another batch size: the same place in the epochs, not the same step."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy_training import settings, train

SCHEDULE = [
    dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=3),
    dict(type='CosineAnnealingLR', begin=0, T_max=4, end=4, convert_to_iter_based=True),
    dict(type='MultiStepMomentum', milestones=[3], end=4, convert_to_iter_based=True),
]


class Rates(Hook):
    """Notes step and learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float]] = []

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        (group,) = runner.optim_wrapper.param_groups
        self.seen.append((runner.iter, group['lr'], group['momentum']))


def arguments(work_dir: Path, batch: int, **options: Any) -> dict[str, Any]:
    made = settings(work_dir)
    made['train_dataloader']['batch_size'] = batch
    made.update(param_scheduler=SCHEDULE, cfg=dict(param_scheduler=SCHEDULE))
    return {**made, **options}


def rest(work_dir: Path, batch: int) -> list[tuple[int, float, float]]:
    rates = Rates()
    train(arguments(work_dir, batch, resume=True), hooks=[rates])
    return rates.seen


@pytest.mark.parametrize('batch', [2, 8])
def test_the_schedule_ends_with_the_training(tmp_path: Path, batch: int) -> None:
    train(arguments(tmp_path, 4), stop=9)  # two epochs of four steps are done
    steps = 16 // batch
    seen = rest(tmp_path, batch)
    assert [step for step, *_ in seen] == list(range(2 * steps, 4 * steps))
    for step, rate, momentum in seen:
        cosine = 0.01 * (1 + math.cos(math.pi * step / (4 * steps))) / 2
        assert rate == pytest.approx(cosine)
        assert momentum == pytest.approx(0.9 if step < 3 * steps else 0.09)
    state = torch.load(tmp_path / 'epoch_4.pth', weights_only=True)
    warmup, cosine_state, _ = state['param_schedulers']
    assert (state['meta']['iter'], cosine_state['_global_step']) == (
        4 * steps,
        4 * steps,
    )
    # The warm-up counts steps and had ended; it does not begin again.
    assert (warmup['last_step'], warmup['end']) == (2, 3)


def test_it_is_said(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    train(arguments(tmp_path, 4), stop=9)
    train(arguments(tmp_path, 2, resume=True, log_level='WARNING'))
    lines = capfd.readouterr().out.splitlines()
    said = [line for line in lines if 'batch size' in line]
    assert len(said) == 1
    assert 'An epoch has 8 steps, not 4' in said[0]
    assert 'step 16' in said[0]
    assert '2 schedules' in said[0]


def test_nothing_moves_with_the_same_batch_size(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    train(arguments(tmp_path, 4), stop=9)
    train(arguments(tmp_path, 4, resume=True, log_level='WARNING'))
    assert 'batch size' not in capfd.readouterr().out


@pytest.mark.parametrize(('batch', 'more'), [(2, 'fewer'), (8, 'more'), (4, '')])
def test_a_training_of_steps_says_that_they_have_another_size(
    tmp_path: Path, capfd: pytest.CaptureFixture, batch: int, more: str
) -> None:
    made = settings(tmp_path, by_epoch=False)
    train(made, stop=9)
    again = settings(tmp_path, by_epoch=False)
    again['train_dataloader']['batch_size'] = batch
    train({**again, 'resume': True, 'log_level': 'WARNING'})
    said = [one for one in capfd.readouterr().out.splitlines() if 'A step has' in one]
    assert len(said) == bool(more)
    if more:
        assert f'A step has {batch} samples, not 4' in said[0]
        assert f'sees {more} samples' in said[0]
