"""No process of a training is left when it ends, however it ends."""

import multiprocessing
from pathlib import Path

import pytest
from toy_training import settings, train

from paperzoo.engine.workers import workers_ended


@pytest.mark.parametrize('stop', [None, 11])
@pytest.mark.parametrize('loop', [{'persistent': True}, {'by_epoch': False}])
def test_none_is_left(loop: dict, stop: int | None, tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    runner = train(settings(tmp_path, workers=2, **loop), stop=stop)
    assert set(multiprocessing.active_children()) <= before
    with workers_ended(runner):
        assert next(iter(runner.val_dataloader))  # it starts new ones
