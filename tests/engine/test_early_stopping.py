"""A training ends where nothing better is found, with and without a kill."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from toy_training import settings, train

from paperzoo.engine import EarlyStoppingHook
from paperzoo.engine.early_stopping import RECORD

SCORES = [0.0, 0.0, 0.0, 0.3, 0.5, 0.4, 0.5, 0.2, 0.9, 1.0]
END = 8  # epochs: 0.5 at the fifth, then three that are not better


class Listed(BaseMetric):
    """The score of the epoch or of the fourth part of the steps."""

    default_prefix = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        step = MessageHub.get_current_instance().get_info('iter') + 1
        return {'score': SCORES[step // 4 - 1]}


class Stop(Hook):
    """Interrupts at a step, at one of the hook's calls."""

    def __init__(self, call: str, step: int, priority: str) -> None:
        self.priority = priority

        def stop(runner: Runner, *args: Any, **kwargs: Any) -> None:
            if runner.iter == step:
                raise InterruptedError

        setattr(self, call, stop)


def stopping(**options: Any) -> dict[str, Any]:
    kind = dict(type='paperzoo.EarlyStoppingHook', monitor='score', rule='greater')
    return {**kind, 'min_delta': 0.01, 'patience': 3, **options}


def arguments(folder: Path, *, by_epoch: bool = True, **options: Any) -> dict:
    made = settings(folder, by_epoch=by_epoch)
    made['train_cfg'].update(dict(max_epochs=10) if by_epoch else dict(max_iters=40))
    made['default_hooks']['checkpoint']['interval'] = 1 if by_epoch else 4
    made.update(val_evaluator=[Listed()], custom_hooks=[stopping()])
    made.update(options)
    return made


def seen(folder: Path) -> list[list[float]]:
    return json.loads((folder / RECORD).read_text())['seen']


@pytest.mark.parametrize('by_epoch', [True, False])
def test_zeros_before_the_first_find_do_not_count(
    tmp_path: Path, by_epoch: bool
) -> None:
    runner = train(arguments(tmp_path, by_epoch=by_epoch))
    assert runner.iter == 4 * END
    unit = 1 if by_epoch else 4
    expected = [[4, 0, 0.3], [5, 0, 0.5], [6, 1, 0.5], [7, 2, 0.5], [8, 3, 0.5]]
    assert seen(tmp_path) == [[unit * at, *state] for at, *state in expected]


def test_what_is_found_and_lost_again_counts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], 'SCORES', [0.0, 0.3] + 8 * [0.0])
    assert train(arguments(tmp_path)).epoch == 5


def test_a_loss_of_zero_is_the_best_there_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], 'SCORES', 10 * [0.0])
    least = arguments(tmp_path, custom_hooks=[stopping(rule='less')])
    assert train(least).epoch == 4
    assert train(arguments(tmp_path)).epoch == 10  # nothing was found: to the end


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('step', [4, 16, 24, 28, 32])
@pytest.mark.parametrize(
    ('call', 'priority'),
    [
        ('before_val_iter', 'HIGHEST'),  # in the validation
        ('after_val_epoch', 'LOWEST'),  # counted, not noted as done
        ('after_val', 'LOWEST'),  # done
        ('before_train_iter', 'HIGHEST'),  # behind it
    ],
)
def test_a_kill_changes_nothing(
    tmp_path: Path, by_epoch: bool, step: int, call: str, priority: str
) -> None:
    train(arguments(tmp_path, by_epoch=by_epoch), hooks=[Stop(call, step, priority)])
    runner = train(arguments(tmp_path, by_epoch=by_epoch, resume=True))
    assert runner.iter == 4 * END
    (hook,) = [one for one in runner.hooks if isinstance(one, EarlyStoppingHook)]
    assert (hook.wait_count, hook.best_score) == (3, 0.5)
    assert len(seen(tmp_path)) == 5


def test_a_training_that_has_stopped_says_so(tmp_path, capfd) -> None:
    train(arguments(tmp_path))
    again = arguments(tmp_path, resume=True, log_level='WARNING')
    assert train(again).epoch == END
    said = 'Nothing is left to train: score was not better than 0.500 for 3 validations'
    assert said in capfd.readouterr().out
    more = arguments(tmp_path, resume=True, custom_hooks=[stopping(patience=4)])
    assert train(more).epoch == 10


def test_going_back_forgets_what_came_later(tmp_path: Path) -> None:
    train(arguments(tmp_path))
    back = dict(resume=True, load_from=str(tmp_path / 'epoch_6.pth'))
    runner = train(arguments(tmp_path, **back), stop=25)
    assert (runner.epoch, seen(tmp_path)[-1]) == (6, [6, 1, 0.5])
    assert train(arguments(tmp_path), stop=1).iter == 1  # a new training
    assert seen(tmp_path) == []


@pytest.mark.parametrize(
    'content',
    [
        *('', '[]', '{"monitor": "score", "seen": [[1]]}', '{"monitor": "other"}'),
        '{"monitor": "score", "seen": [[5, 0, 0.9], [Infinity, 0, 0.1]]}',
        '[' * 100_000,
    ],
)
def test_a_record_that_is_damaged_is_no_record(tmp_path: Path, content: str) -> None:
    train(arguments(tmp_path), stop=24)
    (tmp_path / RECORD).write_text(content)
    runner = train(arguments(tmp_path, resume=True), stop=25)
    assert seen(tmp_path) == []
    assert runner.iter == 25


def test_scores_of_numpy_are_kept_as_they_are(tmp_path, monkeypatch) -> None:
    scores = [np.float32(one) for one in SCORES]
    monkeypatch.setattr(sys.modules[__name__], 'SCORES', scores)
    train(arguments(tmp_path), stop=20)
    assert seen(tmp_path) == [[4, 0, float(np.float32(0.3))], [5, 0, 0.5]]
    assert train(arguments(tmp_path, resume=True)).epoch == END


def test_a_score_that_is_no_number_stops(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], 'SCORES', [0.3, math.nan] + 8 * [0.5])
    assert train(arguments(tmp_path)).epoch == 2
