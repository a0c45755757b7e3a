"""The settings that every config has: is each of them of a kind that can be used?"""

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError
from paperzoo.preflight.issues import shortened

if TYPE_CHECKING:
    from mmengine.config import Config

Check = tuple[str, Callable[[Any], bool]]


def _whole(least: int) -> Check:
    # 8e4 is written for 80000; mmengine takes it.
    return (
        f'a whole number from {least} on',
        lambda value: (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and value >= least
            and float(value).is_integer()
        ),
    )


_SEED: Check = (
    f'a whole number from 0 to {2**32 - 1}',
    lambda value: _whole(0)[1](value) and value < 2**32,
)


def _one_of(*names: str) -> Check:
    return ' or '.join(map(repr, names)), lambda value: value in names


_NUMBER: Check = (
    'a number (1e-3, not a text)',
    lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value == value
    ),
)
_DICT: Check = ('a dict', lambda value: isinstance(value, dict))
_DICTS: Check = (
    'a dict or a list of dicts',
    lambda value: (
        isinstance(value, dict)
        or (
            isinstance(value, list | tuple)
            and all(isinstance(one, dict) for one in value)
        )
    ),
)
_LIST: Check = ('a list', lambda value: isinstance(value, list | tuple))
_TEXT: Check = ('a text', lambda value: isinstance(value, str))
_FLAG: Check = ('True or False', lambda value: isinstance(value, bool))
# A text is the name of a file with a class in each line.
_NAMES: Check = (
    "a tuple of names, such as ('cat',) with its comma",
    lambda value: (
        isinstance(value, list | tuple)
        or (isinstance(value, str) and os.path.isfile(value))
    ),
)
_LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'NOTSET')
# Checkpoints of one name would replace each other, the last of them be deleted.
_NUMBERED: Check = (
    "a text with one {} for the epoch or step, such as 'epoch_{}.pth'",
    lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r'[^{}]*\{0?(:(0\d)?d?)?\}[^{}]*', value))
    ),
)
_PLACE: Check = ('a text', lambda value: not isinstance(value, int | float))

# None is always allowed: mmengine reads it as "not given".
_CHECKS: dict[str, Check] = {
    'model': _DICT,
    'train_cfg': _DICT,
    'train_cfg.max_epochs': _whole(1),
    'train_cfg.max_iters': _whole(1),
    'train_cfg.val_interval': _whole(1),
    'train_cfg.val_begin': _whole(0),
    'optim_wrapper': _DICT,
    'optim_wrapper.optimizer': _DICT,
    'optim_wrapper.optimizer.lr': _NUMBER,
    'optim_wrapper.clip_grad': _DICT,
    'optim_wrapper.clip_grad.max_norm': _NUMBER,
    'optim_wrapper.accumulative_counts': _whole(1),
    'param_scheduler': (
        'a list of dicts',
        lambda value: isinstance(value, dict) or _DICTS[1](value),
    ),
    'default_hooks': _DICT,
    'default_hooks.logger.interval': _whole(1),
    'default_hooks.checkpoint.interval': _whole(-1),
    'default_hooks.checkpoint.filename_tmpl': _NUMBERED,
    'custom_hooks': ('a list of hooks', _LIST[1]),
    'work_dir': _TEXT,
    'load_from': _TEXT,
    'resume': _FLAG,
    'randomness': _DICT,
    'env_cfg': _DICT,
    'env_cfg.cudnn_benchmark': _FLAG,
    'env_cfg.mp_cfg': _DICT,
    'env_cfg.dist_cfg': _DICT,
    'env_cfg.resource_limit': _whole(1),
    'launcher': _one_of('none', 'pytorch', 'slurm', 'mpi'),
    'log_level': (
        f'{" or ".join(map(repr, _LEVELS))}, or a number',
        lambda value: value in _LEVELS or _whole(0)[1](value),
    ),
    'log_processor': _DICT,
    'model.train_cfg': _DICT,
    'model.test_cfg': _DICT,
    'model.data_preprocessor': _DICT,
    'data_preprocessor': _DICT,
    'auto_scale_lr': _DICT,
    'auto_scale_lr.base_batch_size': _whole(1),
    'randomness.seed': _SEED,
    'default_scope': _TEXT,
    **{
        f'{split}_dataloader{key}': check
        for split in ('train', 'val', 'test')
        for key, check in {
            '': _DICTS,
            '.batch_size': _whole(1),
            '.num_workers': _whole(0),
            '.persistent_workers': _FLAG,
            '.dataset': _DICT,
            '.dataset.data_root': _PLACE,
            '.dataset.ann_file': _PLACE,
            '.sampler': _DICT,
            '.dataset.pipeline': ('a list of steps', _LIST[1]),
            '.dataset.metainfo': _DICT,
            '.dataset.metainfo.classes': _NAMES,
            '.dataset.metainfo.CLASSES': _NAMES,
        }.items()
    },
    'val_evaluator': _DICTS,
    'test_evaluator': _DICTS,
}


def check_values(cfg: 'Config') -> None:
    """Refuse a config with a common setting that cannot be used, such as 0 epochs.

    Args:
        cfg: The config, with its overrides.

    Raises:
        UserError: With a line for each such setting.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.preflight.common_values import check_values
        >>> check_values(Config(dict(train_cfg=dict(max_epochs='3'))))
        Traceback (most recent call last):
        paperzoo.errors.UserError: config: train_cfg.max_epochs = '3': ...
    """
    wrong = []
    for key, (wanted, check) in _CHECKS.items():
        value = _at(cfg, key)
        if value is not None and not check(value):
            wrong.append(f'{key} = {shortened(value)}: it must be {wanted}')
    wrong += _workers(cfg)
    if wrong:
        place = cfg.filename or 'config'
        raise UserError(f'{place}: ' + f'\n{place}: '.join(wrong))


def require(cfg: 'Config', *keys: str, what: str) -> None:
    """Refuse a config without something that a command needs.

    Args:
        cfg: The config.
        keys: At the top of the config.
        what: Who needs them.

    Raises:
        UserError: If one of the keys is missing.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.preflight.common_values import require
        >>> require(Config(dict(model=dict(type='FCOS'))), 'model', what='a test')
    """
    if missing := [key for key in keys if cfg.get(key) is None]:
        raise UserError(
            f'{cfg.filename or "config"}: {", ".join(missing)} missing: {what} needs '
            f'{" and ".join(keys)}'
        )


def _at(cfg: Any, key: str) -> Any:
    value = cfg
    for part in key.split('.'):
        value = value.get(part) if hasattr(value, 'get') else None
    return value


def _workers(cfg: 'Config') -> list[str]:
    return [
        f'{split}_dataloader: persistent_workers=True needs workers: with '
        f'num_workers=0 add {split}_dataloader.persistent_workers=False'
        for split in ('train', 'val', 'test')
        if _at(cfg, f'{split}_dataloader.persistent_workers') is True
        and _at(cfg, f'{split}_dataloader.num_workers') == 0
    ]
