"""The processes that load data end with the training, not when memory is tidied up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_KINDS = ('train', 'val', 'test')


@contextmanager
def workers_ended(runner: Any) -> Iterator[None]:
    """End the workers of a runner's loaders afterwards.

    Otherwise they live as long as the runner, which refers to itself: until Python
    tidies up, in the middle of whatever comes next. That waits up to five seconds for
    each of them.

    Args:
        runner: A Runner; its loaders start new workers if they are used again.

    Example:
        >>> from types import SimpleNamespace
        >>> from torch.utils.data import DataLoader
        >>> from paperzoo.engine.workers import workers_ended
        >>> loader = DataLoader([1, 2], num_workers=1, persistent_workers=True)
        >>> loop = SimpleNamespace(dataloader=loader)
        >>> with workers_ended(SimpleNamespace(_train_loop=loop)):
        ...     (worker,) = iter(loader)._workers
        >>> worker.is_alive()
        False
    """
    try:
        yield
    finally:
        loops = (getattr(runner, f'_{kind}_loop', None) for kind in _KINDS)
        for loop in loops:
            # A training by iterations holds an iterator over and over its loader.
            for name in ('dataloader', 'dataloader_iterator'):
                holder = getattr(loop, name, None)
                running: Any = getattr(holder, '_iterator', None)
                if holder is not None and hasattr(running, '_shutdown_workers'):
                    running._shutdown_workers()
                    holder._iterator = None
