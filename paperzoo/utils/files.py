"""Files that are whole or not there, and names that are free."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

from paperzoo.utils.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_json(file: Path, record: dict[str, Any]) -> Path:
    """Write a record; an earlier file of this name is never replaced.

    Args:
        file: Where to write; `name_2.json` and so on if it exists already.
        record: What to write; NumPy and torch scalars become numbers.

    Returns:
        The file that was written.
    """
    target, count = file, 1
    while target.exists():
        count += 1
        target = file.with_stem(f'{file.stem}_{count}')
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f'.{os.getpid()}.tmp')
    text = json.dumps(record, indent=2, default=_plain)
    partial.write_text(text + '\n', encoding='utf-8')
    partial.replace(target)
    return target


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, 'item') else str(value)


def free_path(path: Path) -> Path:
    """Return a path at which nothing lies: `path`, or `path` with _2, _3, ..."""
    target, count = path, 1
    while target.exists():
        count += 1
        target = path.with_stem(f'{path.stem}_{count}')
    return target


def write_safely(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file so that under its name there is the old or the new one, whole.

    Args:
        path: Where the file goes; its folder is created.
        write: Writes the content into the binary file that it is given.

    Raises:
        UserError: If the disk is full or the folder cannot be written; what was there
            before is still there.
    """
    partial = path.with_name(f'{path.name}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            watched = _Watched(file)
            try:
                write(watched)
            except RuntimeError as error:
                # torch.save hides what the disk said.
                raise watched.failure or error from error
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise UserError(_message(path, error)) from error
        raise


class _Watched:
    """A file that remembers what went wrong."""

    def __init__(self, file: BufferedWriter) -> None:
        self.file = file
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _sync_folder(folder: Path) -> None:
    """Make a renaming last through a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _message(path: Path, error: OSError) -> str:
    lead = f"'{path}' could not be written: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        with suppress(OSError):
            lead += f' ({shutil.disk_usage(path.parent).free / 1e6:.0f} MB free)'
    # From a best one no training goes on: it has no optimizer state.
    others = [
        file
        for file in path.parent.glob('*.pth')
        if file.is_file() and not file.name.startswith('best_')
    ]
    newest = max(others, key=lambda file: file.stat().st_mtime, default=None)
    if newest is None:
        return f'{lead}. Make room, or name another place with --work-dir'
    return (
        f"{lead}. The earlier checkpoints are whole, '{newest.name}' is the newest. "
        'Make room or write elsewhere (default_hooks.checkpoint.out_dir, '
        'default_hooks.checkpoint.max_keep_ckpts=1), then go on with --resume'
    )
