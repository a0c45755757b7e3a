"""The curves of a training, drawn beside its checkpoints."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.runner import Runner

# Times, counts and intervals, whose scales hide the metrics.
_NO_METRICS = ('time', '_episodes', '_classes', '_ci95', '_ci95_t')


@contextmanager
def curves_drawn(runner: 'Runner') -> Iterator[None]:
    """Write `curves.png` into the work dir when a training ends, however it ends.

    Args:
        runner: Of the training.

    Example:
        >>> from types import SimpleNamespace
        >>> from paperzoo.apis.curves import curves_drawn
        >>> with curves_drawn(SimpleNamespace(rank=1)):
        ...     pass  # another process than the first draws nothing
    """
    try:
        yield
    finally:
        if runner.rank == 0:
            try:
                write_curves(runner)
            except UserError as error:  # as for a full disk
                print(f'paperzoo: no curves are drawn: {error}', file=sys.stderr)


def write_curves(runner: Any) -> Path | None:
    """Draw losses and metrics of a training so far; None if there are none.

    A resumed training has those of its beginning, too.

    Args:
        runner: With `work_dir` and `message_hub`.

    Raises:
        UserError: If the picture cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from types import SimpleNamespace
        >>> from mmengine.logging import MessageHub
        >>> from paperzoo.apis.curves import write_curves
        >>> hub = MessageHub('curves')
        >>> hub.update_scalar('train/loss', 0.5)
        >>> with TemporaryDirectory() as folder:
        ...     write_curves(SimpleNamespace(work_dir=folder, message_hub=hub)).name
        'curves.png'
    """
    losses, metrics = {}, {}
    for key, buffer in runner.message_hub.log_scalars.items():
        values = buffer.data[0]
        if not len(values):
            continue
        kind, _, name = key.partition('/')
        if kind == 'train' and 'loss' in name:
            losses[name] = values
        elif kind == 'val' and not name.endswith(_NO_METRICS):
            metrics[name] = values
    if not losses and not metrics:
        return None
    # It takes matplotlib, which a training without a step does not need.
    from paperzoo.visualization.curves import draw_curves

    return draw_curves(Path(runner.work_dir, 'curves.png'), losses, metrics)
