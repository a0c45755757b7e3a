"""Parts of a config that do not fit together end in one message.

Each part alone can be built; whether the pipeline gives what the model takes, or the
neck what the head takes, is seen when the first batch goes through them.
"""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from mmengine.hooks import Hook

import paperzoo
from paperzoo.errors import UserError
from paperzoo.utils.files import write_text
from paperzoo.utils.messages import explain

_STAGES = {'train': 'training', 'val': 'validation', 'test': 'test'}


class FirstStepsHook(Hook):
    """Notes which of training, validation and test have had a first step.

    Attributes:
        begun: The stage that runs, or None before the first.
        done: Those that have had a step and whatever follows it.
    """

    # After all others: what they do with the first step belongs to it.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.begun: str | None = None
        self.done: set[str] = set()

    def before_train(self, runner: Any) -> None:
        """Note the stage."""
        self.begun = 'train'

    def before_val(self, runner: Any) -> None:
        """Note the stage."""
        self.begun = 'val'

    def before_test(self, runner: Any) -> None:
        """Note the stage."""
        self.begun = 'test'

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Note that a step is done."""
        self.done.add('train')

    def after_val_iter(self, *args: Any, **kwargs: Any) -> None:
        """Note that a step is done."""
        self.done.add('val')

    def after_test_iter(self, *args: Any, **kwargs: Any) -> None:
        """Note that a step is done."""
        self.done.add('test')

    def after_val(self, runner: Any) -> None:
        """Note that the training goes on."""
        self.begun = 'train'


@contextmanager
def first_steps_explained(runner: Any) -> Iterator[None]:
    """Say in one message why the first step of a run does not go through.

    Later failures, and those in code of a user's own, keep their traceback; so does
    what has a message of its own, such as a missing file.

    Args:
        runner: Runs inside the context.

    Raises:
        UserError: If the first step fails within the stack; the message names the layer
            and the file with the traceback, or the option that takes less memory.

    Example:
        >>> from types import SimpleNamespace
        >>> runner = SimpleNamespace(register_hook=lambda hook: None)
        >>> with first_steps_explained(runner):
        ...     pass
    """
    hook = FirstStepsHook()
    runner.register_hook(hook)
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        stage = hook.begun
        if stage is None or stage in hook.done or explain(error):
            raise
        if isinstance(error, torch.OutOfMemoryError):
            raise UserError(_too_large(stage, error)) from error
        if not _of_stack(error):
            raise
        raise UserError(_message(runner, stage, error)) from error


def _too_large(stage: str, error: Exception) -> str:
    remedy = f'--cfg-options {stage}_dataloader.batch_size=N'
    if stage == 'train':
        remedy = '--batch-size N), or train in half precision (--amp'
    return (
        f'the first step of the {_STAGES[stage]} does not fit into the memory of the '
        f'device: {" ".join(str(error).split())[:200]}\n'
        f'  Take fewer images at a time ({remedy}).'
    )


def _message(runner: Any, stage: str, error: Exception) -> str:
    text = ' '.join(str(error).split())[-400:]
    layer = _layer(runner.model, error.__traceback__)
    where = f' in {layer}' if layer else ''
    message = (
        f'the first step of the {_STAGES[stage]} does not go through{where}: '
        f'{type(error).__name__}: {text}\n'
        '  Parts of the config do not fit together: what the pipeline packs and the '
        'model takes, or what one layer gives and the next one takes.'
    )
    whole = ''.join(traceback.format_exception(error))
    with suppress(UserError):  # a full disk is not what is wrong
        file = write_text(Path(runner.log_dir, 'first_step_error.txt'), whole)
        message += f'\n  Where it failed: {file}'
    return message


def _of_stack(error: Exception) -> bool:
    """Return whether only installed packages took part, no code of a user's own.

    Also for an error of a loader's worker, whose traceback comes as a text.
    """
    libraries = {sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')}
    roots = [Path(one).resolve() for one in libraries if one]
    roots.append(Path(paperzoo.__file__).resolve().parent)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    files += [
        line.split('"')[1]
        for line in str(error).splitlines()
        if line.lstrip().startswith('File "')
    ]
    return all(
        file.startswith('<') or any(map(Path(file).resolve().is_relative_to, roots))
        for file in files
    )


def _layer(model: Any, trace: TracebackType | None) -> str:
    """Return the name of the innermost layer that was at work."""
    names = {
        id(module): name for name, module in getattr(model, 'named_modules', list)()
    }
    layer = ''
    while trace is not None:
        layer = names.get(id(trace.tb_frame.f_locals.get('self'))) or layer
        trace = trace.tb_next
    return layer
