"""A work dir belongs to one training at a time.

Who trains leaves a note of process, host and time in the folder. The note, not an open
file, is the lock: workers that outlive a killed training would keep a file open. A file
lock guards the moment in which the note is read and written.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paperzoo.errors import UserError
from paperzoo.utils.files import write_json

NOTE = 'in_use.json'
_GUARD = '.in_use.lock'


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
    if not _is_first(launcher):
        yield
        return
    folder = Path(work_dir)
    own = _this_process()
    with _guarded(folder):
        _take(folder, own)
    try:
        yield
    finally:
        # Not worth an error: the training is over, and a dead one's note is no lock.
        with suppress(OSError, UserError), _guarded(folder):
            if _read(folder / NOTE) == own:
                (folder / NOTE).unlink()


def _is_first(launcher: str) -> bool:
    if launcher == 'none':  # Whatever started it, it trains alone.
        return True
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return next((os.environ[name] for name in names if name in os.environ), '0') == '0'


def _take(folder: Path, own: dict[str, Any]) -> None:
    note = folder / NOTE
    other = _read(note)
    if other is not None:
        who = (
            f'process {other.get("process")} on host {other.get("host")} since '
            f'{other.get("since")}'
        )
        here = other.get('host') == own['host']
        if not here or _runs(other):
            remedy = '' if here else f", or delete '{note}' if it no longer runs"
            raise UserError(
                f"work_dir = '{folder}' is in use by {who}. Wait for it{remedy}, or "
                'name another place with --work-dir'
            )
        print(f"paperzoo: work_dir = '{folder}' is taken over from {who}: it is dead")
    write_json(note, own, replace=True)


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
    """Return a note; None if there is none, or none that can be understood."""
    try:
        found = json.loads(note.read_text('utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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
    process = note.get('process')
    if not isinstance(process, int) or isinstance(process, bool) or process <= 0:
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
