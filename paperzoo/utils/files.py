"""Files that are whole or not there, and names that are free.

Whatever paperzoo writes goes through `write_safely`: into a file beside the target,
which takes the target's name when all of it is on the disk. Who stops in the middle,
runs out of space or may not write finds the earlier file as it was.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from paperzoo.errors import UserError

# What is being written: host, process and thread of who does it.
_PARTIAL = re.compile(r'.+\.paperzoo-(.+)-(\d+)-\d+\.tmp', re.DOTALL)
_HOST = re.sub(r'[^\w.]', '_', socket.gethostname())
_DAY = 86400
_swept: set[tuple[int, Path]] = set()
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_path(path: Path) -> Path:
    """Return a path at which nothing lies: `path`, or `path` with _2, _3, ...

    Args:
        path: Of a file or folder.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = write_text(Path(folder, 'loss.txt'), '0.5')
        ...     free_path(file).name
        'loss_2.txt'
    """
    target, count = path, 1
    while os.path.lexists(target):
        count += 1
        target = path.with_stem(f'{path.stem}_{count}')
    return target


def new_folder(path: Path) -> Path:
    """Make a folder that nobody else has: `path`, or `path` with _2, _3, ...

    Two programs that ask for one name at a time get two folders.

    Args:
        path: Of the folder; those above it are created.

    Returns:
        The folder.

    Raises:
        UserError: If the folder cannot be made.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.utils.files import new_folder
        >>> with TemporaryDirectory() as above:
        ...     [new_folder(Path(above, 'run')).name for _ in range(2)]
        ['run', 'run_2']
    """
    while True:
        folder = free_path(path)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            if isinstance(error, FileExistsError) and folder.is_dir():
                continue  # another one was faster
            raise UserError(_message(folder, error)) from error
        return folder


def write_safely(
    path: Path, write: Callable[[Any], object], *, replace: bool = True
) -> Path:
    """Write a file so that under its name there is the old or the new one, whole.

    Args:
        path: Where the file goes; its folder is created.
        write: Writes the content into the binary file that it is given.
        replace: Whether an earlier file of this name is replaced; else the new one gets
            a free name, also when two are written at once.

    Returns:
        `path`, or the free name.

    Raises:
        UserError: If the disk is full, the folder cannot be written, or something else
            lies in the place of the file or its folder; what was there before is still
            there.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = write_safely(Path(folder, 'x.pt'), lambda f: torch.save([1], f))
        ...     torch.load(file)
        [1]
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with partial.open('wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            path = _take_free_name(partial, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        # torch.save still tries to end the file, which hides what the disk said.
        reason = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(reason, OSError):
            raise UserError(_message(path, reason)) from error
        raise
    return path


def _take_free_name(partial: Path, path: Path) -> Path:
    """Give a file a name that nobody has; return it."""
    while True:
        free = free_path(path)
        try:
            os.link(partial, free)  # unlike a renaming, never over another file
        except FileExistsError:
            continue  # another one was faster
        except OSError:  # a disk without links
            partial.replace(free)
            return free
        partial.unlink()
        return free


def refuse_irregular(path: Path) -> None:
    """Refuse a pipe, a device or a folder in the place of a file that is to be read.

    Reading a pipe would wait for ever, reading a device would not end.

    Args:
        path: Of the file; a link must lead to a regular file. One that is not there is
            left to the reader.

    Raises:
        UserError: If something else than a regular file is there.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.utils.files import refuse_irregular
        >>> refuse_irregular(Path('/dev/zero'))
        Traceback (most recent call last):
        paperzoo.errors.UserError: '/dev/zero' is no regular file
    """
    if path.exists() and not path.is_file():
        raise UserError(f"'{path}' is no regular file")


def refuse_unwritable(path: Path) -> None:
    """Refuse a place at which nothing can be written, before hours of work for it.

    Nothing is created.

    Args:
        path: Of a file or folder that is to be written; it and its folders need not be
            there yet.

    Raises:
        UserError: If a file lies in the place of a folder, or nothing may be written
            there.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.utils.files import refuse_unwritable
        >>> refuse_unwritable(Path('/dev/null/results.json'))
        Traceback (most recent call last):
        paperzoo.errors.UserError: '/dev/null/results.json' cannot be written: ...
    """
    for place in (path, *path.parents):
        if not os.path.exists(place):  # False also where one may not look
            continue
        if place == path and not path.is_dir():
            continue
        reason = ''
        if not place.is_dir():
            reason = f"'{place}' is a file, not a folder"
        elif not os.access(place, os.W_OK | os.X_OK):
            reason = f"nothing may be written to '{place.absolute()}'"
        if reason:
            raise UserError(f"'{path}' cannot be written: {reason}. Name another place")
        return


def write_text(path: Path, text: str, *, replace: bool = True) -> Path:
    """Write a text as UTF-8.

    Args:
        path: Where the file goes; its folder is created.
        text: All of it.
        replace: As of `write_safely`.

    Returns:
        `path`, or the free name.

    Raises:
        UserError: If the file cannot be written; an earlier one is still there.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_text(Path(folder, 'new', 'a.txt'), 'naïve').read_text('utf-8')
        'naïve'
    """
    # Names of files need not be UTF-8.
    data = text.encode('utf-8', 'backslashreplace')
    return write_safely(path, lambda file: file.write(data), replace=replace)


def write_json(
    path: Path, content: Any, *, replace: bool = False, one_a_line: bool = False
) -> Path:
    """Write JSON that every reader takes.

    JSON has no NaN and no infinity: both become `null`. Scalars and arrays of NumPy and
    torch become numbers and lists; what JSON has no word for (a path, a date) its text.

    Args:
        path: Where the file goes; its folder is created.
        content: What to write.
        replace: Whether an earlier file of this name is replaced; else the new one is
            named `name_2.json` and so on.
        one_a_line: Whether each item of a list at the top gets one line, for long lists
            of records; else everything is indented.

    Returns:
        The file that was written.

    Raises:
        UserError: If the file cannot be written; an earlier one is still there.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = write_json(Path(folder, 'x.json'), {'loss': float('nan')})
        ...     print(file.read_text().replace('\\n', ''))
        {  "loss": null}
    """
    plain = _strict(content)
    text = _one_a_line(plain) if one_a_line else json.dumps(plain, indent=2)
    return write_text(path, text + '\n', replace=replace)


def _strict(value: Any) -> Any:
    """Return what strict JSON can hold."""
    if hasattr(value, 'tolist'):  # NumPy and torch
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_key(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _key(key: Any) -> Any:
    if hasattr(key, 'tolist'):
        key = key.tolist()
    return key if key is None or isinstance(key, str | int | float) else str(key)


def _one_a_line(content: Any) -> str:
    if isinstance(content, list):
        return '[\n' + ',\n'.join(map(json.dumps, content)) + '\n]'
    parts = []
    for key, value in content.items():
        text = _one_a_line(value) if isinstance(value, list) else json.dumps(value)
        parts.append(f'{json.dumps(key)}: {text}')
    return '{\n' + ',\n'.join(parts) + '\n}'


def _partial(path: Path) -> Path:
    """Return where a file is written first: a name that nobody else uses now."""
    name = path.name
    if len(os.fsencode(name)) > 120:  # a name has at most 255 bytes
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    own = f'{_HOST[:60]}-{os.getpid()}-{threading.get_native_id()}'
    return path.with_name(f'{name}.paperzoo-{own}.tmp')


def _sweep(folder: Path) -> None:
    """Remove what killed processes were writing in a folder, once a process."""
    if (os.getpid(), folder) in _swept:
        return
    _swept.add((os.getpid(), folder))
    with suppress(OSError):
        for one in os.scandir(folder):
            found = _PARTIAL.fullmatch(one.name)
            if found is None or not one.is_file(follow_symlinks=False):
                continue
            # Of another host one cannot ask: a day is longer than any write.
            here = found[1] == _HOST[:60]
            left = not _runs(int(found[2])) if here else False
            if left or time.time() - one.stat().st_mtime > _DAY:
                os.unlink(one.path)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a renaming last through a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _message(path: Path, error: OSError) -> str:
    reason, remedy = error.strerror or str(error), 'Correct that or write elsewhere'
    in_the_way = [
        one for one in path.parents if os.path.exists(one) and not os.path.isdir(one)
    ]
    if in_the_way:
        reason = f"'{in_the_way[0]}' is a file, not a folder"
    elif os.path.isdir(path):
        reason = 'a folder has this name'
    elif error.errno in _NO_ROOM:
        remedy = 'Make room or write elsewhere'
        with suppress(OSError):
            reason += f' ({shutil.disk_usage(path.parent).free / 1e6:.0f} MB free)'
    return (
        f"'{path}' could not be written: {reason}. What was there before is whole. "
        f'{remedy}'
    )
