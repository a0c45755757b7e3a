"""Makes a synthetic set once, in one piece, however many processes ask for it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from paperzoo.errors import UserError


def ensure_set(
    root: Path, name: str, identity: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Return `root` with a set in it, writing the set if it is not there yet.

    One process writes, the others wait; the set appears when it is complete.

    Args:
        root: Folder of the set.
        name: Of the set, for messages.
        identity: All that its files depend on; kept in `spec.json`.
        write: Writes the set into the folder that it is given.

    Raises:
        UserError: If `root` holds something else or a set made from another spec, or
            cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, 'spec.json').write_text('{"seed": 0}')
        ...     ensure_set(Path(folder), 'Toy', {'seed': 0}, print) == Path(folder)
        True
    """
    if _is_ready(root, name, identity):
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + '.lock')):
            if not _is_ready(root, name, identity):
                _write(root, name, identity, write)
    except OSError as error:
        raise UserError(
            f'The {name} set cannot be written to {root} ({error}). Fix that, or set '
            'PAPERZOO_CACHE to a folder that can be written'
        ) from error
    return root


def _is_ready(root: Path, name: str, identity: Mapping[str, Any]) -> bool:
    """Tell whether the set is there; refuse a folder that holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / 'spec.json').read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f'{root} is in the way of the {name} set: it has no readable spec.json, so '
            'it is not (or no longer) such a set. Delete or move it, and try again'
        ) from error
    differences = [
        f'{key} is {found.get(key)}, wanted {value}'
        for key, value in identity.items()
        if found.get(key) != value
    ]
    if differences:
        raise UserError(
            f'{root / "spec.json"}: this {name} set was made otherwise '
            f'({"; ".join(differences)}). Delete the folder {root} to have it made '
            'anew, or name another folder'
        )
    return True


def _write(
    root: Path, name: str, identity: Mapping[str, Any], write: Callable[[Path], None]
) -> None:
    """Write the set beside `root`, then move it there."""
    from mmengine.logging import print_log  # takes a second to import

    print_log(f'Making the {name} set in {root}', logger='current')
    start = time.perf_counter()
    # A killed run may have left its unfinished folder; we hold the lock, so nobody
    # is at work in it.
    unfinished = root.with_name(root.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        write(unfinished)
        (unfinished / 'spec.json').write_text(json.dumps(identity, indent=2) + '\n')
        if root.exists():
            root.rmdir()
        os.replace(unfinished, root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    seconds = time.perf_counter() - start
    print_log(f'The {name} set is ready, made in {seconds:.1f} s', logger='current')
