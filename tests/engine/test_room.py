"""The hooks of the room run in an order that lets all of them do their work."""

import random
from types import SimpleNamespace
from typing import Any

from mmengine.hooks import CheckpointHook, EMAHook, Hook, LoggerHook
from mmengine.runner import Runner

from paperzoo.engine import (
    CompileHook,
    FiniteLossHook,
    ProgressBarHook,
    ResumableRandomnessHook,
)


def order(hooks: list[Hook]) -> list[str]:
    """Return the order in which a runner calls hooks."""
    runner: Any = SimpleNamespace(_hooks=[])
    for hook in hooks:
        Runner.register_hook(runner, hook)
    return [type(hook).__name__ for hook in runner._hooks]


def test_whatever_order_they_are_registered_in() -> None:
    for seed in range(20):
        hooks = [
            ResumableRandomnessHook(),  # what the others draw is seeded already
            EMAHook(),
            LoggerHook(),
            FiniteLossHook(),
            ProgressBarHook(),  # what was logged is above the bar
        ]
        names = [type(hook).__name__ for hook in hooks]
        random.Random(seed).shuffle(hooks)
        assert order(hooks) == names


def test_compiled_after_all_hooks_that_change_the_model() -> None:
    hooks = [
        CompileHook(backend='eager'),
        EMAHook(),
        CheckpointHook(),
        FiniteLossHook(),
    ]
    assert order(hooks)[-1] == 'CompileHook'
