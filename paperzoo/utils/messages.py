"""How a command ends when something is wrong that its user can mend: one message."""

import faulthandler
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from paperzoo.errors import UserError

# How torch hands on what was raised in a worker of a DataLoader: as text.
_WORKER = re.compile(r'Caught \w+ in .+\n\s*Original Traceback')
_TRACEBACK = 'Traceback (most recent call last):\n'
# The first line behind the last traceback that is not indented: type and message.
_RAISED = re.compile(r'^([A-Za-z_][\w.]*): ', re.MULTILINE)

# The signals that have come, other than Ctrl-C.
_RECEIVED: list[int] = []

# Both packages hold the same files: without force, those of the other one are lost.
WITHOUT_SCREEN = (
    'pip uninstall -y opencv-python && pip install --force-reinstall '
    'opencv-python-headless'
)


def one_message(main: Callable[[], object]) -> None:
    """Run a command; what its user can mend ends it as one message, with exit code 1.

    That is a `UserError`, also one of a loader's worker; a file, disk or stream that
    the system refuses; and a part of the stack that cannot be imported. Anything else
    is a fault of ours and keeps its traceback. Ctrl-C ends it with exit code 130, and
    `kill` (SIGTERM) as Ctrl-C does, with 143.

    Args:
        main: The command.

    Example:
        >>> from paperzoo.errors import UserError
        >>> from paperzoo.utils.messages import one_message
        >>> def main():
        ...     raise UserError("--out 'a.txt' must end in .json")
        >>> one_message(main)
        Traceback (most recent call last):
        SystemExit: ...
        paperzoo: --out 'a.txt' must end in .json
    """
    _open_streams()
    _print_anything()
    # A crash in compiled code says where it was; else the process just ends.
    with suppress(OSError, ValueError, AttributeError):  # stderr may be no file
        faulthandler.enable()
    # A log that cannot be written is told by what must be written, not line by line.
    logging.raiseExceptions = False
    try:
        with _interrupted_by_kill():
            _printed(main)
    except BrokenPipeError as error:
        # Who reads what we print has seen enough, as `| head` does.
        if error.filename is None:
            _drop_stdout()
            sys.exit(1)
        _end(_refused(error))
    except KeyboardInterrupt as error:
        said = f': {error}' if str(error) else ''
        print(f'\npaperzoo: interrupted{said}', file=sys.stderr)
        # As a shell has it.
        sys.exit(128 + (_RECEIVED or [signal.SIGINT])[-1])
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        _end(message)
    finally:
        # A bar that still runs would draw over the message.
        if bars := sys.modules.get('paperzoo.engine.progress'):
            bars.stop_all()


def _printed(main: Callable[[], object]) -> None:
    """Run a command until all that it has printed is where it should be."""
    try:
        main()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def explain(error: BaseException) -> str | None:
    """Return what to tell the user of an error, or None if he cannot mend it.

    Args:
        error: What has ended a command.

    Example:
        >>> from paperzoo.utils.messages import explain
        >>> explain(FileNotFoundError(2, 'No such file or directory', 'a.json'))
        "'a.json': No such file or directory"
        >>> explain(ZeroDivisionError()) is None
        True
    """
    if _WORKER.match(str(error)):
        return _of_worker(error)
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError):
        return _failed_import(error)
    if isinstance(error, OSError):
        return _refused(error)
    # What wraps an error of ours.
    return explain(error.__cause__) if error.__cause__ is not None else None


def _of_worker(error: BaseException) -> str | None:
    """Return the message of what a worker has raised, if it is one for the user."""
    raised = str(error).rpartition(_TRACEBACK)[2]
    found = _RAISED.search(raised)
    if found is None:
        return None
    # An error with arguments of its own comes as a RuntimeError.
    ours = found[1].startswith('paperzoo.')
    if not ours and not isinstance(error, UserError | OSError):
        return None
    return raised[found.end() :].strip()


def _refused(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    names = [one for one in (error.filename, error.filename2) if one is not None]
    if names:
        return f'{" and ".join(map(repr, map(_text, names)))}: {reason}'
    return f'{reason} ({_place(error)})'


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else str(name)


def _place(error: BaseException) -> str:
    """Return where an error was raised, for one that names no file."""
    traceback = error.__traceback__
    place = 'when printing'
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = f'in {code.co_filename}, line {traceback.tb_lineno}'
        traceback = traceback.tb_next
    return place


def _failed_import(error: ImportError) -> str:
    text = ' '.join(str(error).split())[:400]
    if lacks_screen(error):
        return (
            f'OpenCV cannot be imported: {text}. On a machine without a screen: '
            f'{WITHOUT_SCREEN}'
        )
    name = error.name or 'a package'
    return f'{name} cannot be imported: {text}. What is wrong says: paperzoo doctor'


def lacks_screen(error: BaseException) -> bool:
    """Return whether OpenCV lacks the libraries of a screen: `WITHOUT_SCREEN` helps.

    Args:
        error: Of an import.

    Example:
        >>> from paperzoo.utils.messages import lacks_screen
        >>> lacks_screen(ImportError('libGL.so.1: cannot open shared object file'))
        True
    """
    return 'libGL' in str(error) or 'libgthread' in str(error)


def _end(message: str) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    sys.exit(f'\npaperzoo: {message}')


def _drop_stdout() -> None:
    """Let Python not try again, at its end, to print what cannot be printed."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Let what is printed into a closed stream (`2>&-`) go nowhere."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            # It takes the number of the closed one, which no other file should get.
            stream = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115
            setattr(sys, name, stream)


@contextmanager
def _interrupted_by_kill() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does: what is done is kept."""
    process = os.getpid()

    def interrupt(number: int, *_: Any) -> NoReturn:
        if os.getpid() != process:  # a worker, which has nothing to keep
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _RECEIVED.append(number)
        raise KeyboardInterrupt

    # Whoever has set it otherwise, or runs us in a thread, keeps that.
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    _RECEIVED.clear()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _print_anything() -> None:
    """Let names that a terminal's encoding lacks be printed, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
