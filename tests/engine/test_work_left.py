"""A training that would do nothing is refused; one that is at its end is not."""

from typing import Any

import pytest
from fake_runner import FakeRunner
from mmengine.runner import BaseLoop

from paperzoo.engine.work_left import WorkLeftHook
from paperzoo.errors import UserError


class Loop(BaseLoop):
    """A loop that is somewhere."""

    def __init__(self, epoch: int, step: int, batches: int) -> None:
        loader = {'dataset': [0], 'batch_size': 2, 'drop_last': True}
        kind = type('Loader', (), {'__len__': lambda self: batches, **loader})
        self.dataloader: Any = kind()
        self.epoch, self.iter = epoch, step

    def run(self) -> None:
        pass


def runner(
    train_cfg: dict, *, batches: int = 4, epoch: int = 0, step: int = 0
) -> FakeRunner:
    loop = Loop(epoch, step, batches)
    cfg = {'train_cfg': train_cfg}
    return FakeRunner(_train_loop=loop, cfg=cfg, _load_from='a.pth')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg': {'max_epochs': 3}, 'batches': 0}, '1 items, batch_size=2'),
        (
            {'train_cfg': {'max_epochs': 3}, 'epoch': 4, 'step': 16},
            'is of epoch 4, but',
        ),
        ({'train_cfg': {'max_iters': 9}, 'step': 10}, 'train_cfg.max_iters=11 or more'),
    ],
)
def test_nothing_to_do(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WorkLeftHook().before_train(runner(**options))


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg': {'max_epochs': 3}, 'epoch': 3, 'step': 12},
        {'train_cfg': {'max_iters': 9}, 'epoch': 2, 'step': 9},
        {'train_cfg': {'type': 'OwnLoop'}, 'epoch': 2, 'step': 9},
    ],
)
def test_a_training_at_its_end(options: dict) -> None:
    WorkLeftHook().before_train(runner(**options))
