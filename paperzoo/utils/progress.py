"""How far a loop over images is, for who watches it."""

import sys
from collections.abc import Iterable, Sized
from importlib.util import find_spec
from typing import Any, TypeVar

T = TypeVar('T')


def track(items: Iterable[T], text: str, total: int | None = None) -> Iterable[T]:
    """Yield the items beside a bar with the time left, on a terminal only.

    Args:
        items: All of them.
        text: What they are.
        total: How many, where they do not know it themselves.

    Example:
        >>> from paperzoo.utils.progress import track
        >>> list(track([1, 2], 'images'))
        [1, 2]
    """
    # rich costs a tenth of a second, and is not there where only exported files run.
    if not sys.stderr.isatty() or find_spec('rich') is None:
        print(f'{text}: {_count(items, total)}', file=sys.stderr, flush=True)
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return rich_track(
        items, text, total=total, console=console, disable=not console.is_terminal
    )


def _count(items: Iterable[Any], total: int | None) -> int | str:
    return len(items) if isinstance(items, Sized) else total or 'some'
