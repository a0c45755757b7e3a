"""How much of a training step is waiting for data, and what helps."""

import os
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.engine.image_cache import CacheImagesHook
from paperzoo.registry import HOOKS

# Percent of a step.
MUCH = 20.0
SCALAR = 'train/data_time_percent'


@HOOKS.register_module()
class DataTimeHook(Hook):
    """Log the share of a step that waits for data, and warn once if it is large.

    It stands in the log as `data_time_percent`, of the steps since the line before.

    Args:
        much: Percent of a step from which on it warns.
        steps: After how many steps it looks; the first one, in which the workers
            start, is left out.

    Example:
        >>> DataTimeHook().much
        20.0
    """

    # After IterTimerHook, which measures, and before LoggerHook, which writes.
    priority = 55

    def __init__(self, much: float = MUCH, steps: int = 50) -> None:
        self.much = much
        self.steps = steps
        self._seen = 0
        self._data = self._whole = 0.0

    def before_train(self, runner: Runner) -> None:
        """Begin anew."""
        self._seen, self._data, self._whole = 0, 0.0, 0.0

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Note the step; at the end of the steps to look at, warn."""
        hub = runner.message_hub
        try:
            data, whole = (
                hub.get_scalar(f'train/{name}').current()
                for name in ('data_time', 'time')
            )
        except KeyError:  # a config without IterTimerHook
            return
        # The mean of a scalar is the sum of its values by the sum of its counts.
        micro = max(1, round(1e6 * whole))
        hub.update_scalar(SCALAR, 100 * data * 1e6, micro, resumed=False)
        self._seen += 1
        if 1 < self._seen <= self.steps + 1:
            self._data += data
            self._whole += whole
        if self._seen == self.steps + 1:
            percent = 100 * self._data / max(self._whole, 1e-9)
            if percent > self.much:
                cached = any(isinstance(one, CacheImagesHook) for one in runner.hooks)
                workers = runner.train_dataloader.num_workers
                runner.logger.warning(warning(percent, workers, cached=cached))


def warning(percent: float, workers: int, *, cached: bool) -> str:
    """Return what to do about a training that waits for its data.

    Args:
        percent: Of a step that is waiting.
        workers: Processes that load.
        cached: Whether images are kept in memory.

    Example:
        >>> print(warning(43.2, 0, cached=False).partition(': ')[0])
        43 % of a training step is waiting for data
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None
    cores = cores or os.cpu_count() or 1
    remedies = []
    if workers < cores:
        remedies.append(
            f'load it in more processes, of {workers} now: --cfg-options '
            f'train_dataloader.num_workers={cores} '
            'train_dataloader.persistent_workers=True'
        )
    if not cached:
        remedies.append('keep the decoded images of a small set: --cache-images')
    if not remedies:
        remedies.append('make the images on the disk as small as the model sees them')
    return f'{percent:.0f} % of a training step is waiting for data: ' + '; or '.join(
        remedies
    )
