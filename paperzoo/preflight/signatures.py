"""Which arguments a class or function takes, as far as its source tells."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

_KEYWORDS = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


@cache
def accepted_arguments(built: Callable) -> frozenset[str] | None:
    """Return the keyword arguments that a call takes, or None if it may take any.

    `**kwargs` are followed up the bases for as long as a constructor does nothing
    with them but hand them to `super().__init__`.

    Args:
        built: A class or function.

    Example:
        >>> from torch import nn
        >>> sorted(accepted_arguments(nn.Dropout))
        ['inplace', 'p']
    """
    if not inspect.isclass(built):
        names, rest = _parameters(built)
        return None if rest or names is None else frozenset(names)
    found: set[str] = set()
    for base in built.__mro__:
        init = base.__dict__.get('__init__')
        if init is None:
            continue
        if base is object:  # it takes nothing
            return frozenset(found - {'self'}) if _made_by_object(built) else None
        names, rest = _parameters(init)
        if names is None:
            return None
        found |= names
        if rest is None:
            return frozenset(found - {'self'})
        if not _only_forwards(init, rest, base.__name__):
            return None
    return None


def _made_by_object(built: type) -> bool:
    return built.__new__ is object.__new__ and type(built) is type


def _parameters(function: Any) -> tuple[set[str] | None, str | None]:
    """Return the names of a call's arguments, and that of its `**kwargs`.

    No names: they cannot be known.
    """
    # A decorator may rename arguments (mmengine's deprecated_api_warning does).
    if hasattr(function, '__wrapped__'):
        return None, None
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, None
    names = {one.name for one in parameters if one.kind in _KEYWORDS}
    rest = [one.name for one in parameters if one.kind is one.VAR_KEYWORD]
    return names, rest[0] if rest else None


def _only_forwards(init: Any, rest: str, owner: str) -> bool:
    """Return whether `**rest` goes to `super().__init__` and nowhere else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = sum(
        isinstance(node, ast.Name) and node.id == rest for node in ast.walk(tree)
    )
    forwards = sum(
        isinstance(node, ast.Call)
        and _is_super_init(node.func, owner)
        and _passes(node, rest)
        for node in ast.walk(tree)
    )
    return uses == forwards == 1


def _is_super_init(function: ast.expr, owner: str) -> bool:
    """Return whether it is `super().__init__` of the class itself."""
    if not (isinstance(function, ast.Attribute) and function.attr == '__init__'):
        return False
    call = function.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return False
    # super(FCOSHead, self) in a child of FCOSHead leaves out a constructor.
    leaps = any(isinstance(one, ast.Name) and one.id != owner for one in call.args[:1])
    return call.func.id == 'super' and not leaps


def _passes(call: ast.Call, rest: str) -> bool:
    return any(
        keyword.arg is None
        and isinstance(keyword.value, ast.Name)
        and keyword.value.id == rest
        for keyword in call.keywords
    )


@cache
def mentions(holder: Any, name: str) -> bool:
    """Return whether a class's source, or that of its bases, has a name in quotes.

    Some classes take an argument out of a part's dict before they build the part.

    Args:
        holder: The class.
        name: Of the argument.

    Example:
        >>> class Head:
        ...     pass
        >>> mentions(Head, 'loss_cls')
        False
    """
    if not name.isidentifier():
        return False
    for base in getattr(holder, '__mro__', (holder,)):
        source = _source(base)
        if f"'{name}'" in source or f'"{name}"' in source:
            return True
    return False


@cache
def _source(built: Any) -> str:
    try:
        return inspect.getsource(built)
    except (OSError, TypeError):
        return ''
