"""A validation that a kill has cut off is done first when the training is resumed.

The checkpoint of an epoch is written before its validation: a training that is killed
in between would never evaluate this epoch, which may be the best. The work dir
therefore says in `last_validation` up to which step all validations are done, best
checkpoint included.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from paperzoo.engine.leftovers import remove_displaced, remove_unrecorded
from paperzoo.utils.files import write_text

RECORD = 'last_validation'


class PendingValidationHook(Hook):
    """Runs the validation that is due where a training is resumed, and sweeps up.

    Attributes:
        file: The checkpoint that was resumed; None if the training is new.
    """

    # After all others: they have taken over from the checkpoint what they need, and a
    # validation is done when the last of them is through with it.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.file: str | None = None

    def before_train(self, runner: Runner) -> None:
        """Do what the training that is resumed left undone."""
        if self.file is None:
            _write(runner, 0)
            return
        resumed = _modified(self.file)
        remove_displaced(runner, self.file)
        done = _read(runner)
        if done < runner.iter and _is_due(runner.train_loop, runner.val_loop):
            runner.logger.warning(
                'The training was stopped before the validation at '
                f'{_place(runner)} was done: it is done now.'
            )
            _look_trained(runner, self.file)
            runner.val_loop.run()
        else:
            _write(runner, min(done, runner.iter))
        remove_unrecorded(runner, resumed)
        if _is_over(runner.train_loop):
            runner.logger.warning(
                f'Nothing is left to train: the training ends at {_place(runner)}. A '
                'longer one: --cfg-options train_cfg.max_epochs=... (or max_iters)'
            )

    def after_val(self, runner: Runner) -> None:
        """Note that this validation is done."""
        _write(runner, runner.iter)


def _is_due(loop: Any, validation: Any) -> bool:
    """Return whether the loop validates at the step where it is."""
    if validation is None:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        at, end = loop.epoch, loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        at, end = loop.iter, loop.max_iters
    else:
        return False
    loop._decide_current_val_interval()
    return at >= loop.val_begin and (at % loop.val_interval == 0 or at == end)


def _look_trained(runner: Runner, file: str) -> None:
    """Let a validation find what it finds after a step: its numbers, a checkpoint.

    Without it, the hook would take no note of a best one.
    """
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.last_ckpt is None:
            hook.last_ckpt = file
    info = runner.message_hub
    info.update_info('iter', runner.iter - 1)
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        info.update_info('epoch', runner.epoch - 1)


def _is_over(loop: Any) -> bool:
    if isinstance(loop, EpochBasedTrainLoop):
        return loop.epoch >= loop.max_epochs
    return loop.iter >= loop.max_iters


def _place(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'epoch {runner.epoch}'
    return f'step {runner.iter}'


def _modified(file: str) -> float:
    """Return when a file was written; far in the future if nobody knows."""
    with suppress(OSError):
        return Path(file).stat().st_mtime
    return float('inf')


def _write(runner: Runner, step: int) -> None:
    if is_main_process():
        write_text(Path(runner.work_dir, RECORD), str(step))


def _read(runner: Runner) -> int:
    """Return the last step whose validation is done, the same in all processes."""
    found = [0]
    if is_main_process():
        with suppress(OSError, ValueError):
            found = [int(Path(runner.work_dir, RECORD).read_text('utf-8')[:20])]
    broadcast_object_list(found)
    return found[0]
