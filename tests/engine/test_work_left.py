"""A training without batches is refused."""

from typing import Any

import pytest
from fake_runner import FakeRunner
from mmengine.runner import BaseLoop

from paperzoo.engine.work_left import WorkLeftHook
from paperzoo.errors import UserError


class Loop(BaseLoop):
    """A loop over so many batches."""

    def __init__(self, batches: int) -> None:
        loader = {'dataset': [0], 'batch_size': 2, 'drop_last': True}
        kind = type('Loader', (), {'__len__': lambda self: batches, **loader})
        self.dataloader: Any = kind()

    def run(self) -> None:
        pass


def test_nothing_to_do() -> None:
    with pytest.raises(UserError, match='1 items, batch_size=2'):
        WorkLeftHook().before_train(FakeRunner(_train_loop=Loop(0)))


def test_a_batch_is_enough() -> None:
    WorkLeftHook().before_train(FakeRunner(_train_loop=Loop(1)))
