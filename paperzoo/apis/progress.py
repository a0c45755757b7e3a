"""How far a loop over images is, for who watches it."""

import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
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
    # rich costs a tenth of a second, and is not there where only exported files run.
    if not sys.stderr.isatty() or find_spec('rich') is None:
        print(f'{text}: {len(items)}', file=sys.stderr, flush=True)
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return rich_track(items, text, console=console, disable=not console.is_terminal)
