"""A text of assignments, as MMEngine writes configs, read as data: nothing is run.

A part of `config_texts`, which says what ails; delete it together with that.
"""

import ast
from typing import Any, NoReturn

from paperzoo.errors import UserError

# An honest one has some ten thousand characters.
_LONGEST = 4_000_000
_NUMBERS = {'inf': float('inf'), 'nan': float('nan')}


def read_literals(text: str) -> dict[str, Any]:
    """Return the names that a text assigns literals to.

    A literal is a number, a text, bytes, a boolean, None, a list, tuple, set or dict of
    literals, or a call of `dict` with literals by keyword.

    Args:
        text: As of a Python file.

    Raises:
        UserError: If the text has anything but such assignments; the message names the
            line.
        SyntaxError: If the text is no Python.

    Example:
        >>> from paperzoo.compat.literals import read_literals
        >>> read_literals("optimizer = dict(type='SGD', lr=0.1)")
        {'optimizer': {'type': 'SGD', 'lr': 0.1}}
    """
    if len(text) > _LONGEST:
        raise UserError(f'it has {len(text)} characters')
    found: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if name == '_base_':
                    _refuse(statement, text)
                found[name] = _literal(value, text)
            case ast.Expr(value=ast.Constant(value=str())):
                continue  # a docstring
            case _:
                _refuse(statement, text)
    return found


def _literal(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(
            value=None | bool() | int() | float() | str() | bytes() as value
        ):
            return value
        case ast.Name(id='inf' | 'nan' as name):
            return _NUMBERS[name]  # as MMEngine writes them
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand, text)
            if type(value) in (int, float):
                return -value
        case ast.List(elts=items):
            return [_literal(item, text) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, text) for item in items)
        case ast.Set(elts=items):
            return {_literal(item, text) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_literal(k, text): _literal(v, text) for k, v in pairs if k}
        case ast.Call(func=ast.Name(id='set'), args=[], keywords=[]):
            return set()  # as Python writes an empty one
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords):
            if all(keyword.arg for keyword in keywords):
                return {str(k.arg): _literal(k.value, text) for k in keywords}
    _refuse(node, text)


def _refuse(node: ast.stmt | ast.expr, text: str) -> NoReturn:
    said = (ast.get_source_segment(text, node) or '').splitlines()[0][:80]
    raise UserError(f'line {node.lineno} is more than names and values: {said}')
