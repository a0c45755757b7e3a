"""A training that finds nothing better ends early, also if it was killed in between."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import EpochBasedTrainLoop, Runner

from paperzoo.registry import HOOKS
from paperzoo.utils.files import write_json

# In the work dir: what is known after each validation.
RECORD = 'early_stopping.json'
# A number that is infinite, lists in lists in lists.
_TOO_MUCH = (OverflowError, RecursionError)


@HOOKS.register_module()
class EarlyStoppingHook(hooks.EarlyStoppingHook):
    """MMEngine's hook, which neither gives up before it began nor forgets.

    A score of 0 counts only once another was found: from random weights it may take
    long to the first. What the hook has seen is kept in the work dir, as the checkpoint
    of an epoch is written before its validation; a resumed training goes on counting.

    Args:
        monitor: Key of the metric, such as `'coco/bbox_mAP'`.
        **options: As of `mmengine.hooks.EarlyStoppingHook`.

    Example:
        >>> hook = EarlyStoppingHook('coco/bbox_mAP', min_delta=0.001, patience=8)
        >>> hook.rule
        'greater'
    """

    wait_count: int
    best_score: float

    def __init__(self, monitor: str, **options: Any) -> None:
        super().__init__(monitor, **options)
        # By the epoch or step of a validation: checks without a better one, the best.
        self._seen: dict[int, tuple[int, float]] = {}

    def before_train(self, runner: Runner) -> None:
        """Take up the count of the training that is resumed, or begin anew."""
        self._seen = _read(runner, self.monitor) if runner.iter else {}
        self._go_back(_place(runner))
        _write(runner, self.monitor, self._seen)
        if self.wait_count >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.warning(
                f'Nothing is left to train: {self.monitor} was not better than '
                f'{self.best_score:.3f} for {self.wait_count} validations. To go on: a '
                'greater patience of the EarlyStoppingHook in custom_hooks'
            )

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, Any] | None = None
    ) -> None:
        """Decide whether to stop; a validation that is done again counts once."""
        metrics = metrics or {}
        place = _place(runner)
        self._go_back(place - 1)
        if metrics.get(self.monitor) == 0 and self.best_score == -math.inf:
            return
        super().after_val_epoch(runner, metrics)
        # As a resumed training reads it: mmseg's metrics are numbers of NumPy.
        self.best_score = float(self.best_score)
        self._seen[place] = (self.wait_count, self.best_score)
        _write(runner, self.monitor, self._seen)

    def _go_back(self, place: int) -> None:
        """Know what was known at an epoch or step."""
        self._seen = {at: seen for at, seen in self._seen.items() if at <= place}
        none = (0, -math.inf if self.rule == 'greater' else math.inf)
        last = max(self._seen, default=-1)
        self.wait_count, self.best_score = self._seen.get(last, none)


def _place(runner: Runner) -> int:
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return runner.epoch if by_epoch else runner.iter


def _write(runner: Runner, monitor: str, seen: dict[int, tuple[int, float]]) -> None:
    if is_main_process():
        rows = [[place, *state] for place, state in seen.items()]
        content = {'monitor': monitor, 'seen': rows}
        write_json(Path(runner.work_dir, RECORD), content, replace=True)


def _read(runner: Runner, monitor: str) -> dict[int, tuple[int, float]]:
    """Return what the work dir knows, the same in all processes."""
    found: list[dict[int, tuple[int, float]]] = [{}]
    if is_main_process():
        with suppress(OSError, ValueError, TypeError, LookupError, *_TOO_MUCH):
            content = json.loads(Path(runner.work_dir, RECORD).read_text('utf-8'))
            if content['monitor'] == monitor:
                found[0] = {
                    int(at): (int(waits), float(best))
                    for at, waits, best in content['seen']
                }
    broadcast_object_list(found)
    return found[0]
