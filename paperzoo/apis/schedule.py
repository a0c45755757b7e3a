"""Another length, batch or rate of a training: the schedule moves along."""

import math
import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import type_name
from paperzoo.apis.config_errors import merge
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

# Where a scheduler begins, ends and turns.
_POINTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'total_iters')
_LISTS = ('milestones', 'periods', 'restart_points')
# Of hooks: when they begin to work, or for how long.
_EPOCHS = ('begin_epoch', 'switch_epoch', 'num_last_epochs')
_STEPS = ('begin_iter', 'switch_iter', 'num_last_iters')
# Rates beside the optimizer's own.
_RATES = ('eta_min', 'eta_max')
# MMEngine takes an end from here on for none.
_MOST = 10**9
# Where all of these are.
_MOVED = ('train_cfg', 'param_scheduler', 'default_hooks', 'custom_hooks')
# What an option sets, by its other names.
_SAME = {
    'epochs': ('train_cfg.max_epochs', 'train_cfg.max_iters'),
    'batch-size': ('train_dataloader.batch_size',),
    'lr': ('optim_wrapper.optimizer.lr',),
}


def set_schedule(
    cfg: 'Config',
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Give a training another length, batch size or learning rate.

    What is counted in epochs keeps its share of the training, what is counted in
    iterations its share of the images: milestones, validations, checkpoints, hooks.
    A warm-up gets shorter with the training, where it is more than a tenth of it,
    but not longer. The learning rate does
    not follow the batch size by itself: that is `auto_scale_lr`.

    Args:
        cfg: Changes.
        epochs: Passes over the training images, also of a config that counts
            iterations; the data set is built to know its length.
        batch_size: Of each process, in the training.
        lr: Learning rate.
        cfg_options: What was set by dotted key is already for the new training: it
            stays as it was given.

    Raises:
        UserError: If a number is not above zero, the config has no place for it, or
            one that is no number where it would move, or `cfg_options` sets the same.

    Example:
        >>> from paperzoo.apis.config import load_config
        >>> from paperzoo.apis.schedule import set_schedule
        >>> cfg = load_config('fcos_r50_fpn')  # 12 epochs, less of it after 8 and 11
        >>> set_schedule(cfg, epochs=36, lr=0.02)
        >>> cfg.train_cfg.max_epochs, cfg.param_scheduler[1].milestones
        (36, [24, 33])
        >>> cfg.optim_wrapper.optimizer.lr
        0.02
    """
    cfg_options = cfg_options or {}
    given = {'epochs': epochs, 'batch-size': batch_size, 'lr': lr}
    wanted = {name: value for name, value in given.items() if value is not None}
    _check_numbers(wanted, cfg_options)
    if wanted:
        _check_schedulers(cfg)
    if lr is not None:
        _set_rate(cfg, lr)
    images = Fraction(1)
    if batch_size is not None:
        loader = cfg.get('train_dataloader') or {}
        if not loader.get('batch_size'):
            raise UserError(
                f'{cfg.filename}: --batch-size: the config has no '
                'train_dataloader.batch_size'
            )
        images = Fraction(loader['batch_size'], batch_size)
        loader['batch_size'] = batch_size
    passes = Fraction(1)
    if epochs is not None:
        passes = _passes(cfg, epochs, images)
    moves = passes != 1 or images != 1
    if moves:
        _move(cfg, passes, images)
    stays = {key: cfg_options[key] for key in cfg_options if _top(key) in _MOVED}
    merge(cfg, stays)
    if moves:
        _drop_warm_up(cfg)


def _top(key: str) -> str:
    return key.partition('.')[0]


def _check_numbers(wanted: Mapping[str, float], options: Mapping[str, Any]) -> None:
    """Refuse what cannot be, or is set twice."""
    for name, value in wanted.items():
        if not 0 < value < math.inf:
            raise UserError(f'--{name} {value}: it must be a number above zero')
        if name == 'epochs' and value > _MOST:
            raise UserError(f'--epochs {value}: it must be a number from 1 to {_MOST}')
        for key in _SAME[name]:
            other = _option(options, key)
            if other is not None:
                raise UserError(
                    f'--{name} {value} and --cfg-options {key}={other} set the same: '
                    'leave one of them out'
                )


def _option(options: Mapping[str, Any], key: str) -> Any:
    """Return what options set at a dotted key; None if they leave it alone."""
    for name, value in options.items():
        if key == name:
            return value
        if key.startswith(f'{name}.') and isinstance(value, Mapping):
            return _option(value, key.removeprefix(f'{name}.'))
    return None


def _passes(cfg: 'Config', epochs: int, images: Fraction) -> Fraction:
    """Return how many times as many images are seen."""
    loop = cfg.get('train_cfg') or {}
    if loop.get('max_epochs'):
        return Fraction(epochs, int(loop['max_epochs']))
    if not loop.get('max_iters'):
        raise UserError(
            f'{cfg.filename}: --epochs: the config has neither train_cfg.max_epochs '
            'nor train_cfg.max_iters'
        )
    return Fraction(epochs * _epoch_length(cfg), int(loop['max_iters'])) / images


def _epoch_length(cfg: 'Config') -> int:
    """Return how many iterations an epoch has; the data set is built for it."""
    from paperzoo.apis.build import build_dataset

    dataset = build_dataset(cfg, 'train', cfg.train_dataloader.dataset)
    processes = int(os.environ.get('WORLD_SIZE', '1'))
    return math.ceil(len(dataset) / (cfg.train_dataloader.batch_size * processes))


def _set_rate(cfg: 'Config', lr: float) -> None:
    wrapper = cfg.get('optim_wrapper') or {}
    before = (wrapper.get('optimizer') or {}).get('lr')
    if before is None:
        raise UserError(
            f'{cfg.filename}: --lr: the config has no optim_wrapper.optimizer.lr'
        )
    wrapper['optimizer']['lr'] = lr
    for scheduler in _schedulers(cfg):
        for name in _RATES:
            if scheduler.get(name):
                scheduler[name] = scheduler[name] * lr / before


def _move(cfg: 'Config', passes: Fraction, images: Fraction) -> None:
    """Stretch all that is counted in epochs and in iterations."""
    loop = cfg.train_cfg
    steps = passes * images
    by_epoch = bool(loop.get('max_epochs'))
    unit = passes if by_epoch else steps
    _stretch(loop, ('max_epochs', 'max_iters', 'val_interval', 'val_begin'), unit)
    if loop.get('dynamic_intervals'):
        loop['dynamic_intervals'] = [
            (_times(begin, unit), max(1, _times(every, unit)))
            for begin, every in loop['dynamic_intervals']
        ]
    _move_schedulers(cfg, passes, images)
    for hook in _hooks(cfg):
        _stretch(hook, _EPOCHS, passes)
        _stretch(hook, _STEPS, steps)
        if type_name(hook.get('type', 'CheckpointHook')) == 'CheckpointHook':
            counted = hook.get('by_epoch', True)
            _stretch(hook, ('interval',), passes if counted else steps)


def _move_schedulers(cfg: 'Config', passes: Fraction, images: Fraction) -> None:
    by_epoch = bool(cfg.train_cfg.get('max_epochs'))
    joints: dict[tuple[bool, int], int] = {}  # where a warm-up ended, and ends now
    for one in _schedulers(cfg):
        counted = bool(one.get('by_epoch', True))
        share = passes if counted else passes * images
        if _is_warm_up(one):
            share = min(passes, Fraction(1)) * (1 if counted else images)
            before = one.get('end')
            if before and by_epoch and not counted and passes < 1:
                share = max(share, images * _tenth(cfg, before * images))
            _stretch(one, ('end', 'total_iters'), share)
            if before:
                joints[counted, before] = one['end']
            continue
        begin = joints.get((counted, one.get('begin', 0)))
        _stretch(one, _POINTS, share)
        for name in _LISTS:
            if one.get(name):
                one[name] = _rising([_times(value, share) for value in one[name]])
        if begin is not None:
            one['begin'] = begin
        if not by_epoch or counted:
            _end_last(one, cfg)


def _tenth(cfg: 'Config', steps: Fraction) -> Fraction:
    """Return what of a warm-up fits into a tenth of a training that got shorter."""
    try:
        total = cfg.train_cfg['max_epochs'] * _epoch_length(cfg)
    except UserError:  # no data: the preflight says so
        return Fraction(0)
    return min(Fraction(1), Fraction(total, 10) / steps)


def _drop_warm_up(cfg: 'Config') -> None:
    """Leave out a warm-up of epochs that would last to the end of the training."""
    last = cfg.train_cfg.get('max_epochs')
    given = cfg.get('param_scheduler')
    if not last or not isinstance(given, list) or len(given) < 2:
        return
    first = given[0]
    if (
        _is_warm_up(first)
        and first.get('by_epoch', True)
        and first.get('end', 0) >= last
    ):
        for one in given[1:]:
            if one.get('begin') == first['end']:
                one['begin'] = 0
        cfg.param_scheduler = given[1:]


def _end_last(scheduler: dict[str, Any], cfg: 'Config') -> None:
    """Let nothing that went to the end go beyond it by rounding."""
    last = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')
    if scheduler.get('end') and scheduler['end'] > last:
        scheduler['end'] = last


def _is_warm_up(scheduler: dict[str, Any]) -> bool:
    """Return whether a scheduler raises the rate at the beginning."""
    kind = type_name(scheduler.get('type', ''))
    return not scheduler.get('begin') and kind.startswith(
        ('LinearLR', 'ConstantLR', 'QuadraticWarmup')
    )


def _stretch(node: Any, names: tuple[str, ...], share: Fraction) -> None:
    for name in names:
        value = node.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and 0 < value < math.inf:
            node[name] = max(1, _times(value, share))


def _times(value: float, share: Fraction) -> int:
    return round(Fraction(value) * share)


def _rising(values: list[int]) -> list[int]:
    """Return numbers of which each is above the one before."""
    for place in range(len(values)):
        least = values[place - 1] + 1 if place else 1
        values[place] = max(values[place], least)
    return values


def _check_schedulers(cfg: 'Config') -> None:
    """Refuse schedulers in which nothing can be moved."""
    several = isinstance(cfg.get('param_scheduler'), list)
    for index, one in enumerate(_schedulers(cfg)):
        place = f'param_scheduler.{index}' if several else 'param_scheduler'
        if not isinstance(one, dict):
            raise _unfit(cfg, f'{place} = {one!r}', 'a dict')
        if not isinstance(one.get('type'), str | type):
            said = f'{place}.type = {one.get("type")!r}'
            raise _unfit(cfg, said, 'a name such as LinearLR')
        for name in (*_POINTS, *_RATES):
            if not isinstance(one.get(name), int | float | None):
                raise _unfit(cfg, f'{place}.{name} = {one[name]!r}', 'a number')
        for name in _LISTS:
            values = one.get(name) or []
            if not isinstance(values, list | tuple) or not all(
                isinstance(value, int | float) for value in values
            ):
                raise _unfit(cfg, f'{place}.{name} = {values!r}', 'a list of numbers')


def _unfit(cfg: 'Config', said: str, wanted: str) -> UserError:
    return UserError(f'{cfg.filename or "config"}: {said}: it must be {wanted}')


def _schedulers(cfg: 'Config') -> Iterator[dict[str, Any]]:
    given = cfg.get('param_scheduler') or []
    if isinstance(given, dict):
        # One scheduler, or some for each optimizer.
        given = [given] if 'type' in given else list(given.values())
    for one in given:
        yield from one if isinstance(one, list | tuple) else [one]


def _hooks(cfg: 'Config') -> Iterator[dict[str, Any]]:
    for one in (cfg.get('default_hooks') or {}).values():
        if isinstance(one, dict):
            yield one
    for one in cfg.get('custom_hooks') or []:
        if isinstance(one, dict):
            yield one
