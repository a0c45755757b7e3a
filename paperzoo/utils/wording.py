"""Words of messages."""

from collections.abc import Iterable
from typing import Any


def some(values: Iterable[Any], most: int = 5) -> str:
    """Return the first of several values as a list, and how many more there are.

    Args:
        values: Shown by `str`; give `map(repr, ...)` for quotes.
        most: How many are shown.

    Example:
        >>> from paperzoo.utils.wording import some
        >>> some(['cat', 'dog', 'cow'], most=2)
        'cat, dog and 1 more'
        >>> some(map(repr, ['cat']))
        "'cat'"
    """
    shown = [str(value) for value in values]
    rest = f' and {len(shown) - most} more' if len(shown) > most else ''
    return ', '.join(shown[:most]) + rest
