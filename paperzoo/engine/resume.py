"""A training goes on from what it was, or not at all.

MMEngine takes from a checkpoint what is there: without the state of the optimizer or
the schedules it silently starts them anew, and an epoch beyond the end trains nothing.
Here all that a training needs must be there before weights are loaded, and be found in
the runner afterwards.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from paperzoo.engine.epoch_length import Positions, follow_epochs, note_batch
from paperzoo.engine.pending_validation import PendingValidationHook
from paperzoo.errors import UserError

# What an optimizer keeps for each weight, in the weight's shape.
_MOMENTS = ('momentum_buffer', 'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq')


class CheckpointCheckHook(Hook):
    """Looks at a checkpoint before anything of it is used.

    Attributes:
        file: The checkpoint that is being resumed; None while none is.
        checkpoint: What it holds.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.file: str | None = None
        self.checkpoint: dict[str, Any] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Refuse a checkpoint from which no training can go on."""
        if self.file is None:  # Only weights to start from.
            return
        check_checkpoint(checkpoint, self.file)
        _check_counters(checkpoint['meta'], self.file, runner)
        _check_states(checkpoint, self.file, runner)
        # A copy: who loads it may take things out.
        self.checkpoint = dict(checkpoint)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note what a resumed training compares."""
        note_batch(runner, checkpoint)


def resume_completely(runner: Any) -> None:
    """Let a runner resume all of a training or say why it cannot.

    What is pending is done first: a validation that a kill has cut off. Another batch
    size or number of processes moves counters and schedules along in epochs.

    Args:
        runner: Before its training.

    Example:
        >>> from types import SimpleNamespace
        >>> hooks = []
        >>> runner = SimpleNamespace(register_hook=hooks.append, resume=print)
        >>> resume_completely(runner)
        >>> [type(hook).__name__ for hook in hooks]
        ['CheckpointCheckHook', 'PendingValidationHook']
    """
    check, pending = CheckpointCheckHook(), PendingValidationHook()
    runner.register_hook(check)
    runner.register_hook(pending)
    theirs = runner.resume

    def resume(filename: str, *args: Any, **kwargs: Any) -> None:
        check.file = str(filename)
        before = Positions(runner)
        with _explained(check.file):
            theirs(filename, *args, **kwargs)
            if isinstance(runner, Runner):  # A strategy keeps its states elsewhere.
                _check_loaded(runner, check.checkpoint, check.file)
                follow_epochs(runner, before, check.checkpoint)
        pending.file = check.file
        check.file, check.checkpoint = None, {}

    runner.resume = resume


def check_checkpoint(checkpoint: Any, file: str | Path) -> None:
    """Refuse a checkpoint that is built otherwise than those of a training.

    Args:
        checkpoint: What it holds.
        file: Its name, for messages.

    Raises:
        UserError: If the checkpoint lacks weights, counters or records, or has them in
            another type.

    Example:
        >>> import torch
        >>> try:
        ...     check_checkpoint({'state_dict': {'weight': torch.ones(1)}}, 'a.pth')
        ... except UserError as error:
        ...     print(str(error)[:51])
        checkpoint 'a.pth' cannot be resumed: it has no 'me
    """
    if not isinstance(checkpoint, Mapping):
        raise _unfit(file, f'it holds a {type(checkpoint).__name__}, not a dict')
    weights = _dict(checkpoint, 'state_dict', file)
    if not any(isinstance(one, Tensor) for one in weights.values()):
        raise _unfit(file, "its 'state_dict' holds no weights")
    meta = _dict(checkpoint, 'meta', file)
    for key in ('epoch', 'iter'):
        if not _is_count(meta.get(key)):
            raise _unfit(
                file, f'meta.{key} is {_short(meta.get(key))}, no count of what is done'
            )
    if meta.get('seed') is not None and not _is_count(meta['seed']):
        raise _unfit(file, f'meta.seed is {_short(meta["seed"])}, no whole number')
    _check_records(_dict(checkpoint, 'message_hub', file), file)


def _check_records(hub: Mapping[str, Any], file: str | Path) -> None:
    """Check the message hub, in which MMEngine only skips what is wrong."""
    parts = {
        key: _dict(hub, key, file, 'message_hub.')
        for key in ('log_scalars', 'runtime_info', 'resumed_keys')
    }
    for part, records in parts.items():
        for key in records:
            if not isinstance(key, str):
                raise _unfit(
                    file, f'message_hub.{part} has the key {_short(key)}, no text'
                )
    for key, value in parts['log_scalars'].items():
        if not isinstance(value, HistoryBuffer):
            kind = type(value).__name__
            raise _unfit(file, f'message_hub.log_scalars.{key} is a {kind}, no history')
    info = parts['runtime_info']
    kept = info.get('keep_ckpt_ids', [])
    if not isinstance(kept, list) or not all(map(_is_count, kept)):
        raise _unfit(
            file,
            f'message_hub.runtime_info.keep_ckpt_ids is {_short(kept)}, no list of '
            'epochs or steps',
        )
    for key, value in info.items():
        wrong = (
            key.startswith('best_score') and not isinstance(value, int | float | Tensor)
        ) or (key.startswith('best_ckpt') and not isinstance(value, str))
        if wrong:
            raise _unfit(file, f'message_hub.runtime_info.{key} is {_short(value)}')


def _check_counters(meta: Mapping[str, Any], file: str, runner: Any) -> None:
    """Refuse counters that no training of this length can have reached."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    key, end = ('epoch', runner.max_epochs) if by_epoch else ('iter', runner.max_iters)
    if by_epoch and meta['epoch'] > 0 and meta['iter'] == 0:
        raise _unfit(file, f'meta.epoch is {meta["epoch"]}, but meta.iter is 0')
    if meta[key] > end:
        option = f'train_cfg.max_{key}s'
        raise _unfit(
            file,
            f'meta.{key} is {meta[key]}, beyond the end of this training ({option} = '
            f'{end}): nothing would be trained. A longer one: --cfg-options '
            f'{option}={meta[key] + 1}',
        )


def _check_states(checkpoint: Mapping[str, Any], file: str, runner: Any) -> None:
    """Check that optimizer and schedules have a state, one for each."""
    for key, what in (
        ('optimizer', 'optimizer'),
        ('param_schedulers', 'learning rate and other schedules'),
    ):
        if key == 'param_schedulers' and runner.param_schedulers is None:
            continue
        if not checkpoint.get(key) and not (
            key == 'param_schedulers' and not runner.param_schedulers
        ):
            raise _unfit(
                file,
                f"it has no '{key}', the state of the {what}, which would start anew "
                '(a best or published checkpoint has none, nor one that was saved with '
                f'save_{key.removesuffix("s")}=False)',
            )
    if not isinstance(checkpoint['optimizer'], Mapping):
        kind = type(checkpoint['optimizer']).__name__
        raise _unfit(file, f"its 'optimizer' is a {kind}, not a dict")
    if not isinstance(runner, Runner) or runner.param_schedulers is None:
        return
    for place, schedules, states in _pairs(runner, checkpoint, file):
        if len(schedules) != len(states):
            raise _unfit(
                file,
                f"its '{place}' are {len(states)}, but the config has "
                f'{len(schedules)}: it was trained with another param_scheduler',
            )
        for index, (schedule, state) in enumerate(zip(schedules, states, strict=True)):
            _check_schedule(schedule, state, f'{place}[{index}]', file)


def _pairs(
    runner: Runner, checkpoint: Mapping[str, Any], file: str
) -> Iterator[tuple[str, list, list]]:
    """Yield the schedules of each optimizer with their states."""
    ours, theirs = runner.param_schedulers, checkpoint['param_schedulers']
    if not isinstance(ours, dict):
        ours, theirs = {'': ours}, {'': theirs}
    if not isinstance(theirs, Mapping):
        kind = type(theirs).__name__
        raise _unfit(file, f"its 'param_schedulers' is a {kind}, not a dict")
    for name, schedules in ours.items():
        place = f'param_schedulers.{name}' if name else 'param_schedulers'
        states = theirs.get(name)
        if not isinstance(states, list):
            raise _unfit(file, f"its '{place}' is a {type(states).__name__}, no list")
        yield place, schedules, states


def _check_schedule(schedule: Any, state: Any, place: str, file: str) -> None:
    if not isinstance(state, Mapping):
        raise _unfit(file, f'its {place} is a {type(state).__name__}, not a dict')
    needed = schedule.state_dict()
    missing = [key for key in needed if key not in state]
    strange = [key for key in state if key not in needed]
    if missing or strange:
        said = f'without {missing[0]!r}' if missing else f'with {strange[0]!r}'
        kind = type(schedule).__name__
        raise _unfit(file, f'its {place} is {said}, which is no state of {kind}')
    for key, ours in needed.items():
        if not _is_like(state[key], ours):
            raise _unfit(
                file,
                f'its {place}.{key} is {_short(state[key])}, where this training has '
                f'{_short(ours)}',
            )
    for key in ('_global_step', 'last_step'):
        if type(state[key]) is not int or state[key] < -1:
            raise _unfit(file, f'its {place}.{key} is {_short(state[key])}, no count')


def _check_loaded(runner: Runner, checkpoint: Mapping[str, Any], file: str) -> None:
    """Check that counters and optimizer now are where the checkpoint is."""
    meta = checkpoint['meta']
    if (runner.epoch, runner.iter) != (meta['epoch'], meta['iter']):
        raise _unfit(
            file, f'epoch {meta["epoch"]} and step {meta["iter"]} were not taken over'
        )
    wrapped: Any = runner.optim_wrapper
    wrappers = (
        dict(wrapped.items()) if hasattr(wrapped, 'optim_wrappers') else {'': wrapped}
    )
    for name, wrapper in wrappers.items():
        place = f'optimizer.{name}'.rstrip('.')
        optimizer = wrapper.optimizer
        _check_groups(optimizer, place, file)
        keeps = any(
            group.get('momentum') or 'betas' in group
            for group in optimizer.param_groups
        )
        stepped = meta['iter'] >= getattr(wrapper, '_accumulative_counts', 1)
        if keeps and stepped and not optimizer.state:
            raise _unfit(
                file,
                f'its {place}.state is empty after {meta["iter"]} steps: the momentum '
                'would start anew',
            )
        for weight, state in optimizer.state.items():
            for key in _MOMENTS:
                moment = state.get(key)
                if isinstance(moment, Tensor) and moment.shape != weight.shape:
                    raise _unfit(
                        file,
                        f'its {place} belongs to another model: {key} is of shape '
                        f'{tuple(moment.shape)}, the weight of {tuple(weight.shape)}',
                    )


def _check_groups(optimizer: Any, place: str, file: str) -> None:
    """Check that rates and flags, which torch takes over unseen, can be ones."""
    usual = optimizer.defaults
    usual = {**usual, 'initial_lr': usual.get('lr')}
    for index, group in enumerate(optimizer.param_groups):
        for key, ours in usual.items():
            if key in group and not _is_like(group[key], ours):
                raise _unfit(
                    file,
                    f'its {place}.param_groups[{index}].{key} is {_short(group[key])}, '
                    f'where this training has {_short(ours)}',
                )


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Turn what stumbles over the content of a checkpoint into one message."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError),
        *(RuntimeError, TypeError, ValueError),
    ) as error:
        first = (str(error).splitlines() or [''])[0][:300]
        raise _unfit(file, f'{type(error).__name__}: {first}') from error


def _dict(
    holder: Mapping[str, Any], key: str, file: str | Path, place: str = ''
) -> Mapping[str, Any]:
    if key not in holder:
        raise _unfit(file, f"it has no '{place}{key}'")
    value = holder[key]
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise _unfit(file, f"its '{place}{key}' is a {kind}, not a dict")
    return value


def _is_count(value: Any) -> bool:
    # What needs more than 64 bits, no tensor and no log takes.
    return type(value) is int and 0 <= value < 2**63


def _is_like(value: Any, ours: Any) -> bool:
    """Return whether a value can stand where we have another one: by its kind."""
    if isinstance(ours, list | tuple):
        return isinstance(value, list | tuple) and all(
            _is_like(one, own) for one, own in zip(value, ours, strict=False)
        )
    if isinstance(ours, bool):
        return isinstance(value, bool)
    if isinstance(ours, int | float):
        number = isinstance(value, int | float | Tensor)
        return number and not isinstance(value, bool) and bool(value == value)
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f'{text[:56]} ...'


def _unfit(file: str | Path, reason: str) -> UserError:
    return UserError(
        f"checkpoint '{file}' cannot be resumed: {reason}. Resume from another one of "
        'this training (--resume FILE), or start a training from its weights: '
        f"--cfg-options load_from='{file}'"
    )
