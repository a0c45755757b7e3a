"""A work dir belongs to one training at a time.

Who trains leaves a note of process, host and time in the folder. The note, not an open
file, is the lock: workers that outlive a killed training would keep a file open. A file
lock guards the moment in which the note is read and written.

Whether a process of this host still runs, the system says. One of another host touches
its note now and then: a job that was cut off may go on elsewhere, without anybody who
deletes the note.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paperzoo.errors import UserError
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import is_first_process

NOTE = 'in_use.json'
_GUARD = '.in_use.lock'
# Seconds from one sign of life to the next, and until a silent process counts as dead.
_BEAT, _PATIENCE = 20.0, 90.0


@contextmanager
def own_work_dir(work_dir: str | Path, launcher: str = 'none') -> Iterator[None]:
    """Keep other trainings out of a work dir for a while.

    The processes of one training share it: the first of them, by the number that the
    launcher gives, takes it for all.

    Args:
        work_dir: Created.
        launcher: As in the config; with `'none'` the process stands for itself.

    Raises:
        UserError: If another training uses the work dir, or it cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, own_work_dir(folder):
        ...     try:
        ...         with own_work_dir(folder):
        ...             pass
        ...     except UserError as error:
        ...         print('in use by process' in str(error))
        True
    """
    if not is_first_process(launcher):
        yield
        return
    folder = Path(work_dir)
    own = _this_process()
    _take(folder, own)
    over = threading.Event()
    beat = threading.Thread(target=_give_signs, args=(folder, own, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        # Not worth an error: the training is over, and a dead one's note is no lock.
        with suppress(OSError, UserError), _guarded(folder):
            if _read(folder / NOTE) == own:
                (folder / NOTE).unlink()


def _take(folder: Path, own: dict[str, Any]) -> None:
    """Write the own note, if need be after the time in which another would move."""
    note, start, first = folder / NOTE, time.monotonic(), None
    while True:
        with _guarded(folder):
            other = _read(note)
            if other is None:
                write_json(note, own, replace=True)
                return
            who = (
                f'process {other["process"]} on host {other["host"]} since '
                f'{other.get("since")}'
            )
            here = other['host'] == own['host']
            sign = note.stat().st_mtime_ns
            if _runs(other) if here else first not in (None, sign):
                raise UserError(
                    f"work_dir = '{folder}' is in use by {who}. Wait for it, or name "
                    'another place with --work-dir'
                )
            if here or time.monotonic() - start > _PATIENCE:
                print(f"paperzoo: work_dir = '{folder}' is taken over from {who}: dead")
                write_json(note, own, replace=True)
                return
        if first is None:
            print(
                f"paperzoo: work_dir = '{folder}' was left by {who}: it is taken over "
                f'if there is no sign of life for {_PATIENCE:.0f} s'
            )
        first = sign
        time.sleep(min(1.0, _BEAT))


def _give_signs(folder: Path, own: dict[str, Any], over: threading.Event) -> None:
    note = folder / NOTE
    while not over.wait(_BEAT):
        if _read(note) == own:
            with suppress(OSError):
                os.utime(note)


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(folder / _GUARD, timeout=60)
        guard.acquire()
    except (OSError, Timeout) as error:
        raise UserError(
            f"work_dir = '{folder}' cannot be written: "
            f'{getattr(error, "strerror", None) or error}\n'
            '  Name another place with --work-dir.'
        ) from error
    try:
        yield
    finally:
        guard.release()


def _read(note: Path) -> dict[str, Any] | None:
    """Return a note; None if there is none, or none that names a process."""
    try:
        found = json.loads(note.read_text('utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    named = isinstance(found, dict) and isinstance(found.get('host'), str)
    return found if named and type(found.get('process')) is int else None


def _this_process() -> dict[str, Any]:
    process = os.getpid()
    return {
        'process': process,
        'host': socket.gethostname(),
        'since': time.strftime('%Y-%m-%d %H:%M:%S'),
        'started': _started(process),
    }


def _runs(note: dict[str, Any]) -> bool:
    """Return whether the process of a note of this host is still there."""
    process = note['process']
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # It runs for another user.
    started = _started(process)
    # The number may have been given to another process since.
    return started is None or started == note.get('started')


def _started(process: int) -> str | None:
    """Return what tells a process from a later one of its number, where Linux says."""
    with suppress(OSError, IndexError):
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        # After the name, which may hold anything, the state is the first field.
        stat = Path(f'/proc/{process}/stat').read_text(errors='replace')
        fields = stat.rpartition(')')[2].split()
        return None if fields[0] == 'Z' else f'{boot}-{fields[19]}'
    return None
