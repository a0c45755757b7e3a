"""A bar with the time left, where there is a terminal to show it."""

import logging
import sys
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from paperzoo.registry import HOOKS

_RUNNING: set['ProgressBarHook'] = set()


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show how far training, validation and test are, below the lines of the log.

    Without a terminal it does nothing; the log file is the same either way.

    Args:
        console: Where to draw; by default the terminal, if there is one.
        refreshes: How often to draw, at most, per second.

    Example:
        >>> ProgressBarHook(refreshes=1).refreshes
        1
    """

    # After the logger: what it wrote is above the bar when the bar moves.
    priority = 'LOWEST'

    def __init__(self, console: Console | None = None, *, refreshes: float = 4) -> None:
        self.console = console
        self.refreshes = refreshes
        self._bar: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._drawn = 0.0
        self._redirected: list[tuple[logging.StreamHandler, TextIO]] = []

    def before_train(self, runner: Runner) -> None:
        """Begin the bar of the training, where a resumed one stands."""
        self._begin(runner, 'train', runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Move the bar; the loss beside it is the one that MMEngine has logged."""
        if not self._is_due('train'):
            # Reading the loss would wait for a GPU.
            self._move('train', runner.iter + 1)
            return
        loss = runner.message_hub.log_scalars.get('train/loss')
        note = f'epoch {runner.epoch + 1}' if runner.max_epochs > 1 else ''
        if loss is not None:
            note += f' loss {loss.current():.4g}'
        self._move('train', runner.iter + 1, note)

    def after_train(self, runner: Runner) -> None:
        """End the bar of the training."""
        self._end('train')

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin a bar for the validation, below that of the training."""
        self._begin(runner, 'val', len(runner.val_dataloader))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Move the bar."""
        self._move('val', batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """End the bar of the validation."""
        self._end('val')

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin a bar for the test."""
        self._begin(runner, 'test', len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Move the bar."""
        self._move('test', batch_idx + 1)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """End the bar of the test."""
        self._end('test')

    def _begin(self, runner: Runner, name: str, total: int, done: int = 0) -> None:
        if self._bar is None:
            console = self.console or Console()
            if not (is_main_process() and console.is_terminal):
                return
            if console.is_dumb_terminal:
                return
            self._start(runner, console)
        if self._bar is not None:
            self._tasks[name] = self._bar.add_task(
                name, total=total, completed=done, note=''
            )

    def _start(self, runner: Runner, console: Console) -> None:
        # No thread draws: data workers are forked, and would inherit its locks.
        self._bar = Progress(
            TextColumn('{task.description:5}'),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn('{task.fields[note]}'),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bar.start()
        for handler in runner.logger.handlers:
            if _writes_to_terminal(handler):
                self._redirected.append((handler, handler.stream))
                handler.setStream(_AboveBar(console))
        _RUNNING.add(self)

    def _is_due(self, name: str) -> bool:
        """Return whether the next move of a bar draws it."""
        if self._bar is None or name not in self._tasks:
            return False
        return self._bar.get_time() - self._drawn >= 1 / self.refreshes

    def _move(self, name: str, done: int, note: str | None = None) -> None:
        if self._bar is None or name not in self._tasks:
            return
        task = self._tasks[name]
        self._bar.update(task, completed=done)
        if note is not None:
            self._bar.update(task, note=note)
        if self._is_due(name):
            self._drawn = self._bar.get_time()
            self._bar.refresh()

    def _end(self, name: str) -> None:
        if self._bar is None or name not in self._tasks:
            return
        task = self._tasks.pop(name)
        self._bar.refresh()
        if self._tasks:
            self._bar.remove_task(task)
        else:
            self.stop()

    def stop(self) -> None:
        """Leave the bar as it stands and give the terminal back."""
        if self._bar is None:
            return
        self._bar.stop()
        self._bar = None
        self._tasks.clear()
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        _RUNNING.discard(self)


def stop_all() -> None:
    """Give the terminal back, before an error is printed.

    Example:
        >>> stop_all()  # nothing is drawn: nothing happens
    """
    for hook in list(_RUNNING):
        hook.stop()


def _writes_to_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (
        sys.stdout,
        sys.stderr,
    )


class _AboveBar:
    """A stream whose lines appear above the bar, colours kept."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        """Print what a log handler writes, less its line end."""
        if text.strip('\n'):
            self.console.print(
                Text.from_ansi(text.rstrip('\n')), soft_wrap=True, highlight=False
            )
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""
