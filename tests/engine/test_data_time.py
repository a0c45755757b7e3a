"""The log says how much of a step waits for data, and what to do if it is much."""

from types import SimpleNamespace
from typing import Any

import pytest
from fake_runner import FakeRunner
from mmengine.logging import MessageHub

from paperzoo.engine import CacheImagesHook, DataTimeHook
from paperzoo.engine.data_time import warning


class Log(list):
    warning = list.append


class Run(FakeRunner):
    """With parts of its own."""

    train_dataloader: Any = None
    message_hub: Any = None
    hooks: Any = None
    logger: Any = None


def train(
    hook: DataTimeHook,
    steps: list[tuple[float, float]],
    workers: int = 0,
    hooks: tuple | list = (),
) -> Any:
    """Run a hook through steps of so many seconds of waiting, of so many in all."""
    runner = Run(
        message_hub=MessageHub.get_instance(f'data time {id(steps)}'),
        logger=Log(),
        hooks=hooks,
        train_dataloader=SimpleNamespace(num_workers=workers),
    )
    hook.before_train(runner)
    for number, (data, whole) in enumerate(steps):
        runner.message_hub.update_scalar('train/data_time', data)
        runner.message_hub.update_scalar('train/time', whole)
        hook.after_train_iter(runner, number)
    return runner


def test_the_share_is_that_of_the_sums() -> None:
    runner = train(DataTimeHook(), [(0.1, 1.0), (3.0, 4.0)])
    percent = runner.message_hub.get_scalar('train/data_time_percent').mean()
    assert percent == pytest.approx(62.0)


def test_much_is_warned_of_once_with_the_remedies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(6)), raising=False)
    # The first step starts the workers: it does not count.
    hook = DataTimeHook(steps=3)
    runner = train(hook, [(9.0, 9.1), *[(0.3, 1.0)] * 7], workers=2)
    (said,) = runner.logger
    assert said.startswith('30 % of a training step is waiting for data')
    assert 'of 2 now' in said
    assert 'train_dataloader.num_workers=6' in said
    assert '--cache-images' in said
    assert 'as small as the model sees' in warning(50.0, 6, cached=True)


def test_who_keeps_images_is_not_told_to() -> None:
    hook = DataTimeHook(steps=1)
    runner = train(hook, [(9.0, 9.1)] * 2, hooks=[CacheImagesHook()])
    assert '--cache-images' not in runner.logger[0]


@pytest.mark.parametrize('steps', [[(9.0, 9.1), *[(0.1, 1.0)] * 9], [(9.0, 9.1)] * 3])
def test_little_or_few_steps_are_no_reason(steps: list) -> None:
    assert not train(DataTimeHook(steps=4), steps).logger


def test_without_a_timer_it_does_nothing() -> None:
    hub = MessageHub.get_instance('no timer')
    DataTimeHook().after_train_iter(Run(message_hub=hub), 0)
    assert not hub.log_scalars
