"""How far a loop over images is, for who watches it."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar('T')


def track(items: Sequence[T], text: str) -> Iterable[T]:
    """Yield the items beside a bar with the time left, on a terminal only.

    Args:
        items: All of them.
        text: What they are.

    Example:
        >>> from paperzoo.apis.progress import track
        >>> list(track([1, 2], 'images'))
        [1, 2]
    """
    try:
        from rich.console import Console
        from rich.progress import track as rich_track
    except ModuleNotFoundError:  # where only exported files run
        print(f'{text}: {len(items)}', file=sys.stderr, flush=True)
        return items

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f'{text}: {len(items)}', file=sys.stderr, flush=True)
    return rich_track(items, text, console=console, disable=not console.is_terminal)
