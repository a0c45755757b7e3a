"""Values of a config against what its classes say they take: their annotations.

MMEngine hands on whatever a config has. A text in the place of a number is then
noticed in the middle of a training, or never: `shuffle='no'` shuffles.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mmengine.config import Config

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.issues import Issue, shortened

_WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    dict: 'a dict',
    list: 'a list',
    tuple: 'a tuple',
    NoneType: 'None',
}
# What is built from a config comes as a dict, or as a name that a registry has.
_BUILT = (dict, str)
_CALLABLES = (Callable, get_origin(Callable[[], None]))
# Whose annotations say what is taken; those of mmdet and mmseg often say less.
_EXACT = ('mmengine', 'torch', 'paperzoo')
# These take more than their annotations say: numbers, lists, a dict.
_INEXACT = ('loss_scale', 'log_level', 'eta_max', 'tracked_config_keys')


def wrong_values(
    cfg: Config, key: str, node: Mapping[str, Any], built: Callable
) -> list[Issue]:
    """Return an issue for each value that is of another type than a class takes.

    An argument without an annotation, or with one that is not understood, takes all.

    Args:
        cfg: The config.
        key: The dotted key of what is built; empty at the top.
        node: Its arguments.
        built: The class or function.

    Example:
        >>> from mmengine.dataset import DefaultSampler
        >>> cfg = Config(dict(sampler=dict(shuffle='no')))
        >>> (issue,) = wrong_values(cfg, 'sampler', cfg.sampler, DefaultSampler)
        >>> print(issue.text.partition('\\n')[0])
        sampler.shuffle = 'no': DefaultSampler takes True or False
    """
    takes = _annotations(built)
    owner = getattr(built, '__qualname__', str(built)).removesuffix('.__init__')
    issues = []
    for name, value in node.items():
        hint = takes.get(name, Any)
        if name in ('type', *_INEXACT) or fits(value, hint):
            continue
        place = f'{key}.{name}' if key else name
        issues.append(
            Issue(
                f'{place} = {shortened(value)}: {owner} takes {in_words(hint)}\n'
                f'  in {place_of(cfg, name)}'
            )
        )
    return issues


@cache
def _annotations(built: Callable) -> dict[str, Any]:
    """Return what each argument is said to be, as far as that can be known."""
    found: dict[str, Any] = {}
    for function in _constructors(built):
        # A decorator may rename arguments.
        if hasattr(function, '__wrapped__'):
            return {}
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return found
        exact = function.__module__.partition('.')[0] in _EXACT
        for name, one in parameters.items():
            hint = _hint(one, function) if exact else Any
            # `pad_value: int = None` is often written for an optional one.
            found.setdefault(name, hint | None if one.default is None else hint)
        if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
            break
    return found


def _hint(one: inspect.Parameter, function: Any) -> Any:
    """Return what an argument takes, by its annotation or else by its default."""
    if one.annotation is not one.empty:
        holder = SimpleNamespace(__annotations__={one.name: one.annotation})
        try:
            return get_type_hints(holder, function.__globals__)[one.name]
        except (TypeError, NameError, AttributeError, SyntaxError):
            return Any  # written for a checker of types only
    default = one.default
    if isinstance(default, bool):
        return bool
    return float if isinstance(default, int | float) else Any


def _constructors(built: Callable) -> Iterator[Callable]:
    if not inspect.isclass(built):
        yield built
        return
    for base in built.__mro__:
        if base is not object and '__init__' in base.__dict__:
            yield base.__dict__['__init__']


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a config may be what an annotation says.

    Args:
        value: The value.
        hint: The annotation; one that is not understood fits all.

    Example:
        >>> from mmengine.hooks import Hook
        >>> fits(3, int | None), fits('3', int), fits({'type': 'TimerHook'}, Hook)
        (True, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    kind = origin or hint
    if kind is None or kind is NoneType:
        return value is None
    if not inspect.isclass(kind) or kind in (object, Any):
        return True
    if kind in _CALLABLES:
        return callable(value) or isinstance(value, _BUILT)
    if kind in (bool, int, float):
        return _is_number(value, kind)
    if issubclass(kind, Mapping):
        # None takes out what is there by default: default_hooks=dict(timer=None).
        return isinstance(value, Mapping) and (
            len(inner) != 2
            or all(one is None or fits(one, inner[1]) for one in value.values())
        )
    if kind is str:
        return isinstance(value, str)
    if issubclass(kind, list | tuple) or kind is Sequence:
        one_of = tuple(one for one in inner if one is not Ellipsis)
        return isinstance(value, list | tuple) and (
            not one_of or all(any(fits(one, may) for may in one_of) for one in value)
        )
    return isinstance(value, (kind, *_BUILT)) or callable(value)


def _is_number(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool) or value in (0, 1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # 8e4 is written for 80000.
    return kind is float or float(value).is_integer()


def in_words(hint: Any) -> str:
    """Return what an annotation says, for a message.

    Example:
        >>> in_words(int | None), in_words(list[str])
        ('a whole number or None', 'a list of (a text)')
    """
    if get_origin(hint) in (Union, UnionType):
        return ' or '.join(dict.fromkeys(in_words(one) for one in get_args(hint)))
    if get_origin(hint) is Literal:
        return ' or '.join(map(repr, get_args(hint)))
    kind = get_origin(hint) or hint
    word = _WORDS.get(kind) or f'a {getattr(kind, "__name__", kind)}'
    inner = [one for one in get_args(hint) if one is not Ellipsis]
    if not inner or kind in _CALLABLES or inner[-1] is Any:
        return word
    return f'{word} of ({in_words(inner[-1])})'
