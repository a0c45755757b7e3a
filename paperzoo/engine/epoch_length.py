"""A resumed training whose epochs have another number of steps than before.

Another batch size or number of processes changes how many steps an epoch has. What is
counted in steps but meant in epochs moves along: the step at which the training is, and
schedules that were made from epochs (`convert_to_iter_based`).
"""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import EpochBasedTrainLoop

# What belongs to the optimizer's groups; all else belongs to the length of an epoch.
_OWN = ('base_values', '_last_value', 'last_step', '_global_step', 'verbose')


class Positions:
    """Schedules as the config makes them, before a checkpoint's state is loaded.

    Args:
        runner: With its loops and schedules built.
    """

    def __init__(self, runner: Any) -> None:
        schedules = getattr(runner, 'param_schedulers', None)
        self.states = [dict(one.state_dict()) for one in _flat(schedules)]


def follow_epochs(
    runner: Any, before: Positions, checkpoint: Mapping[str, Any]
) -> None:
    """Move step and schedules of a resumed training to the same place in its epochs.

    It is said in one line. A training that counts steps keeps them; that is said, too.
    Schedules that count steps by themselves, such as a warm-up
    of 500, stay as they are; so does the learning rate itself.

    Args:
        runner: With the checkpoint's state loaded.
        before: What its schedules were before.
        checkpoint: What was loaded.

    Example:
        >>> from unittest.mock import Mock
        >>> from mmengine.runner import Runner
        >>> runner = Mock(Runner, train_loop=None)
        >>> follow_epochs(runner, Positions(runner), {})  # no epochs: nothing moves
    """
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        _say_batch(runner, checkpoint)
        return
    new, old = len(loop.dataloader), _steps_per_epoch(checkpoint)
    if old is None or old == new:
        return
    loop._iter = _moved(loop.iter, old, new)
    made = _flat_converted(runner.cfg.get('param_scheduler'), runner.optim_wrapper)
    schedules = _flat(runner.param_schedulers)
    moved = 0
    if len(made) == len(schedules):
        for schedule, state, converted in zip(
            schedules, before.states, made, strict=True
        ):
            if converted:
                _move(schedule, state, old, new)
                moved += 1
    runner.logger.warning(
        f'An epoch has {new} steps, not {old} as in the checkpoint (another batch size '
        f'or number of processes): the training goes on at step {loop.iter}, and so do '
        f'the {moved} schedules that were made from epochs. The learning rate is not '
        'scaled.'
    )


def note_batch(runner: Any, checkpoint: dict[str, Any]) -> None:
    """Note in a checkpoint how many samples a step has.

    Args:
        runner: That of the training.
        checkpoint: What will be written.

    Example:
        >>> from types import SimpleNamespace
        >>> loop = SimpleNamespace(dataloader=SimpleNamespace(batch_size=4))
        >>> checkpoint = {'meta': {}}
        >>> note_batch(SimpleNamespace(train_loop=loop, world_size=2), checkpoint)
        >>> checkpoint['meta']
        {'samples_per_step': 8}
    """
    if samples := _samples_per_step(runner):
        checkpoint['meta']['samples_per_step'] = samples


def _samples_per_step(runner: Any) -> int | None:
    loader = getattr(runner.train_loop, 'dataloader', None)
    size = getattr(loader, 'batch_size', None)
    size = size or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    return size * runner.world_size if isinstance(size, int) else None


def _say_batch(runner: Any, checkpoint: Mapping[str, Any]) -> None:
    """Say that a training that counts steps goes on with steps of another size."""
    meta = checkpoint.get('meta') or {}
    old, new = meta.get('samples_per_step'), _samples_per_step(runner)
    if type(old) is not int or new is None or old == new:
        return
    runner.logger.warning(
        f'A step has {new} samples, not {old} as in the checkpoint (another batch size '
        'or number of processes). This training counts steps: its end, its schedules '
        'and its learning rate stay as they are, so that it sees '
        f'{"more" if new > old else "fewer"} samples than it would have.'
    )


def _steps_per_epoch(checkpoint: Mapping[str, Any]) -> int | None:
    """Return how many steps an epoch had; None if nothing says so."""
    info = checkpoint['message_hub']['runtime_info']
    meta = checkpoint['meta']
    for steps, epochs in (
        (info.get('max_iters'), info.get('max_epochs')),
        (meta['iter'], meta['epoch']),
    ):
        whole = type(steps) is type(epochs) is int and steps > 0 and epochs > 0
        if whole and steps % epochs == 0:
            return steps // epochs
    return None


def _move(schedule: Any, made: Mapping[str, Any], old: int, new: int) -> None:
    """Put a schedule of the new length where one of the old length was."""
    step = _moved(schedule._global_step, old, new)
    length = {key: value for key, value in made.items() if key not in _OWN}
    schedule.load_state_dict({**length, '_global_step': step})
    if step < schedule.begin:
        schedule.last_step = -1
    else:
        schedule.last_step = min(step, schedule.end - 1) - schedule.begin


def _moved(step: int, old: int, new: int) -> int:
    return round(step * new / old)


def _flat(schedules: Any) -> list[Any]:
    if isinstance(schedules, dict):
        return [one for some in schedules.values() for one in _flat(some)]
    return list(schedules) if isinstance(schedules, list) else []


def _flat_converted(config: Any, optim_wrapper: Any) -> list[bool]:
    """Return which schedules the config makes from epochs, in the runner's order."""
    names = (
        list(optim_wrapper.keys()) if hasattr(optim_wrapper, 'optim_wrappers') else []
    )
    if isinstance(config, dict) and 'type' not in config:
        return [one for name in names for one in _converted(config.get(name))]
    return _converted(config) * max(len(names), 1)


def _converted(config: Any) -> list[bool]:
    some = config if isinstance(config, list | tuple) else [config]
    return [
        isinstance(one, dict) and bool(one.get('convert_to_iter_based'))
        for one in some
        if one is not None
    ]
