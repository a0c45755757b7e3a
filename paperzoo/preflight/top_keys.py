"""The keys at the top of a config: does anything read them?"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from inspect import signature
from itertools import chain
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

# What the runners, the commands and mmdet's and mmseg's tools read beside what the
# runners are built with.
_BESIDES = frozenset(
    (
        *('custom_imports', 'runner_type', 'model_wrapper_cfg', 'sync_bn'),
        *('find_unused_parameters', 'activation_checkpointing'),
        *('efficient_conv_bn_eval', 'init_weights_for_test_or_val'),
        *('test_pipeline', 'tta_model', 'tta_pipeline'),
    )
)
# Whose code reads no other key.
_STACK = frozenset(('mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'paperzoo'))
# What options of `paperzoo train` move along with the schedule.
_MOVED = {
    'train_cfg.max_epochs': '--epochs',
    'train_dataloader.batch_size': '--batch-size',
    'optim_wrapper.optimizer.lr': '--lr',
}


@cache
def read_keys() -> frozenset[str]:
    """Return the keys at the top that something of the stack reads.

    Example:
        >>> 'train_dataloader' in read_keys(), 'data_root' in read_keys()
        (True, False)
    """
    from mmengine.runner import FlexibleRunner, Runner

    taken = chain(*(signature(one).parameters for one in (Runner, FlexibleRunner)))
    return _BESIDES.union(taken)


def nearest_key(key: str) -> str | None:
    """Return the key that one was meant to be, or None for a variable of its own.

    Args:
        key: At the top of a config.

    Example:
        >>> nearest_key('optim_wraper'), nearest_key('train_pipeline')
        ('optim_wrapper', None)
    """
    # Capitals are of a name that a pure-Python config imports.
    if key in read_keys() or key[:1].isupper():
        return None
    near = get_close_matches(key, read_keys(), n=1, cutoff=0.85)
    # val_evaluator_coco is a variable; a slip is of a letter or two.
    return near[0] if near and abs(len(near[0]) - len(key)) <= 2 else None


def refuse_unread(cfg: 'Config', options: Mapping[str, Any]) -> None:
    """Refuse an override that changes nothing.

    A config's variables, such as `data_root`, were used when it was read: whoever
    changes one afterwards changes what nobody looks at.

    Args:
        cfg: Before the overrides.
        options: By dotted key.

    Raises:
        UserError: If nothing reads what an option changes. A config with code of a
            user's own may have readers of its own.

    Example:
        >>> from mmengine.config import Config
        >>> refuse_unread(Config(dict(optim_wrapper={})), {'optim_wraper.lr': 1})
        Traceback (most recent call last):
        paperzoo.errors.UserError: --cfg-options optim_wraper.lr=1: ...
    """
    unread = {
        option: value
        for option, value in options.items()
        if option.partition('.')[0] not in read_keys()
    }
    if not unread or _has_own_code(cfg, options):
        return
    for option, value in unread.items():
        key = option.partition('.')[0]
        near = nearest_key(key)
        if near:
            remedy = f'Did you mean {near}?'
        elif key in cfg:
            remedy = _of_variable(cfg, key, value)
        else:
            remedy = 'A module of your own that does needs custom_imports'
        raise UserError(
            f"--cfg-options {option}={value}: nothing reads '{key}'. {remedy.strip()}"
        )


def _has_own_code(cfg: 'Config', options: Mapping[str, Any]) -> bool:
    """Return whether code from outside of the stack takes part: it may read any key."""
    from paperzoo.preflight.packages import types_in

    if cfg.get('custom_imports') or 'custom_imports' in options:
        return True
    # As texts: nothing that a pure-Python config names is imported.
    kinds = [*types_in(cfg.to_dict()), *types_in(list(options.values()))]
    kinds += [str(options[key]) for key in options if key.endswith('.type')]
    scopes = {kind.partition('.')[0] for kind in kinds if '.' in kind}
    return not {*scopes, cfg.get('default_scope') or 'mmengine'} <= _STACK


def _of_variable(cfg: 'Config', key: str, value: Any) -> str:
    """Return what to give in place of a variable."""
    places = _uses(cfg, key)
    said = ['It is a variable that was used when the config was read.']
    if places:
        used = ' '.join(f'{place}=...' for place in places)
        said.append(f'What was made of it: --cfg-options {used}')
    moved = [f'{name} {value}' for place, name in _MOVED.items() if place in places]
    if moved:
        said.append(f'(paperzoo train {moved[0]} moves all that depends on it)')
    return ' '.join(said)


def _uses(cfg: 'Config', key: str, most: int = 4) -> list[str]:
    """Return the dotted keys that have a variable's value, as written by its name."""
    value = cfg[key]
    found: list[str] = []

    def walk(node: Any, place: str) -> None:
        if isinstance(node, dict):
            items = [(f'{place}.{name}', one) for name, one in node.items()]
        elif isinstance(node, list | tuple):
            items = [(f'{place}.{number}', one) for number, one in enumerate(node)]
        else:
            return
        for inner, one in items:
            if type(one) is type(value) and one == value:
                found.append(inner)
            else:
                walk(one, inner)

    for name in sorted(read_keys() & set(cfg)):
        if type(cfg[name]) is type(value) and cfg[name] == value:
            found.append(name)
        else:
            walk(cfg[name], name)
    # A number may be another's by chance: a schedule's is none of the model's.
    named = {one.partition('.')[0] for one in found if one.endswith(f'.{key}')}
    if named and 'model' not in named:
        found = [one for one in found if not one.startswith('model.')]
    return found[:most]
