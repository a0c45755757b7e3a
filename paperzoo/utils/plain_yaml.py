"""Reads YAML of plain values and tuples without running anything in it.

A few lines whose aliases hold one another stand for any number of values: whoever
copies or prints them fills the memory. A line of a hundred thousand brackets ends the
process: libyaml's reader calls itself for each. Such YAML is refused.
"""

from itertools import chain
from typing import Any

import yaml

from paperzoo.errors import UserError

_TUPLE = 'tag:yaml.org,2002:python/tuple'
# Counted as often as aliases reach them; no honest file has so many.
_MOST_VALUES = 10_000_000
_MOST_DEPTH = 100
_SafeLoader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class PlainLoader(_SafeLoader):
    """A loader for `yaml.load`; tuples are as mmengine writes them."""

    def __init__(self, stream: Any) -> None:
        text = stream.read() if hasattr(stream, 'read') else stream
        _refuse_deep(text)
        super().__init__(text)

    def get_single_node(self) -> Any:
        """Return the document.

        Raises:
            UserError: If it stands for too many values, or holds itself.
        """
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node


PlainLoader.add_constructor(
    _TUPLE, lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def plain_yaml(text: str) -> Any:
    """Return what YAML holds.

    Args:
        text: The YAML.

    Raises:
        UserError: If its aliases hold themselves, or stand for too many values, or too
            many values are in one another.
        yaml.YAMLError: If it is no YAML, or has more than plain values.

    Example:
        >>> from paperzoo.utils.plain_yaml import plain_yaml
        >>> plain_yaml('names: [cat, dog]')
        {'names': ['cat', 'dog']}
    """
    return yaml.load(text, Loader=PlainLoader)


def _refuse_deep(text: str | bytes) -> None:
    """Refuse values in one another without end; events come without recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise UserError(
                f'YAML of more than {_MOST_DEPTH} lists or dicts in one another is '
                'not read: it would end the process'
            )


def _count(node: Any, done: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases counted each time.

    Args:
        node: The node.
        done: The counts of those that were reached, by identity; 0 while one is open.

    Raises:
        UserError: If they are too many, or the node holds itself.
    """
    if isinstance(node.value, str):
        return 1
    if id(node) not in done:
        done[id(node)] = 0
        pairs = isinstance(node, yaml.MappingNode)
        parts = chain.from_iterable(node.value) if pairs else node.value
        done[id(node)] = 1 + sum(_count(part, done) for part in parts)
    if not 0 < done[id(node)] <= _MOST_VALUES:
        raise UserError(
            'YAML whose aliases hold themselves, or stand for more than '
            f'{_MOST_VALUES} values, is not read: it would fill the memory'
        )
    return done[id(node)]
