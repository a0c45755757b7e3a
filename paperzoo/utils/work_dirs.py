"""Which checkpoints of a work dir are meant."""

import os
import re
from pathlib import Path
from zipfile import is_zipfile

from paperzoo.errors import UserError


def checkpoint_in(given: str | Path) -> str:
    """Return the checkpoint that a work dir stands for; a file or an URL stays.

    Args:
        given: A work dir: of it the best checkpoint, or the last one where no
            validation found anything to call the best. Or a file or an URL.

    Raises:
        UserError: If the folder holds no checkpoint.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.utils.work_dirs import checkpoint_in
        >>> _ = (root / 'epoch_3.pth').write_bytes(b'')
        >>> _ = (root / 'last_checkpoint').write_text('work_dirs/moved/epoch_3.pth')
        >>> pathlib.Path(checkpoint_in(root)).name
        'epoch_3.pth'
        >>> _ = (root / 'best_mIoU_epoch_1.pth').write_bytes(b'')
        >>> pathlib.Path(checkpoint_in(root)).name
        'best_mIoU_epoch_1.pth'
    """
    folder = Path(given)
    if not folder.is_dir():
        return str(given)
    best = sorted(folder.glob('best_*.pth'), key=lambda one: one.stat().st_mtime_ns)
    if best:
        return str(best[-1])
    if last := last_checkpoint(folder):
        return last
    raise UserError(
        f"'{given}' holds no checkpoint: neither best_*.pth nor epoch_*.pth nor one "
        'that a file last_checkpoint names. Name the work dir of a training, or a file'
    )


def last_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint from which the training of a work dir goes on, if any.

    Args:
        work_dir: Of it the file that `last_checkpoint` names, also after a move; where
            that names none, the numbered one with the highest number that is whole.

    Example:
        >>> import pathlib, tempfile, torch
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.utils.work_dirs import last_checkpoint
        >>> last_checkpoint(root) is None
        True
        >>> for name in ('epoch_9.pth', 'epoch_10.pth'):
        ...     torch.save({}, root / name)
        >>> pathlib.Path(last_checkpoint(root)).name
        'epoch_10.pth'
        >>> _ = (root / 'last_checkpoint').write_text('work_dirs/moved/epoch_9.pth')
        >>> pathlib.Path(last_checkpoint(root)).name
        'epoch_9.pth'
    """
    folder = Path(work_dir)
    if named := _named_last(folder):
        return named
    both = [one for files in _numbered(folder).values() for one in files.items()]
    files = [file for _, file in sorted(both, reverse=True)]
    # If none is whole, who loads the newest says what is wrong with it.
    return next(map(str, filter(_is_whole, files)), str(files[0]) if files else None)


def _named_last(folder: Path) -> str | None:
    """Return what the file `last_checkpoint` names, if it is there."""
    pointer = folder / 'last_checkpoint'
    try:
        if not pointer.is_file():
            return None
        with pointer.open('rb') as file:
            said = os.fsdecode(file.read(2**16)).strip()
    except OSError:
        return None
    # The folder may have moved, and is often named from elsewhere.
    here = os.path.join(folder, os.path.basename(said))
    if os.path.isfile(here) or (here.endswith('.pth') and os.path.isdir(here)):
        return here
    # CheckpointHook.out_dir; anything else may be of a foreign file.
    if not said.endswith('.pth'):
        return None
    elsewhere = re.fullmatch(r'[a-z0-9]+://\S+', said) or os.path.exists(said)
    return said if elsewhere else None


def _is_whole(file: Path) -> bool:
    """Return whether the end of a file was written; a folder holds several files."""
    return file.is_dir() or (file.is_file() and is_zipfile(file))


def checkpoints_in(work_dir: str | Path) -> tuple[str, dict[int, Path]]:
    """Return all checkpoints that a training kept, from the first to the last.

    Args:
        work_dir: Of the training.

    Returns:
        What they are counted in, 'epoch' or 'iteration', and the files by their
        numbers. Best ones are left out: they are copies.

    Raises:
        UserError: If it is no folder, or holds less than two.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.utils.work_dirs import checkpoints_in
        >>> names = 'epoch_10.pth', 'epoch_9.pth', 'best_mIoU_epoch_9.pth'
        >>> _ = [(root / name).write_bytes(b'') for name in names]
        >>> unit, files = checkpoints_in(root)
        >>> unit, [(number, file.name) for number, file in files.items()]
        ('epoch', [(9, 'epoch_9.pth'), (10, 'epoch_10.pth')])
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise UserError(f"'{work_dir}' is no folder: name the work dir of a training")
    kind, files = max(_numbered(folder).items(), key=lambda one: len(one[1]))
    if len(files) < 2:
        raise UserError(
            f"'{work_dir}' holds {len(files)} numbered checkpoints (epoch_1.pth, "
            'iter_500.pth), and a history needs two or more: let a training keep them, '
            '--cfg-options default_hooks.checkpoint.max_keep_ckpts=-1 '
            'default_hooks.checkpoint.interval=1'
        )
    unit = 'iteration' if kind == 'iter' else kind
    return unit, dict(sorted(files.items()))


def _numbered(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the checkpoints by what they are counted in, and their numbers."""
    kinds: dict[str, dict[int, Path]] = {'epoch': {}, 'iter': {}}
    for file in folder.glob('*.pth'):
        if found := re.fullmatch(r'(epoch|iter)_(\d+)', file.stem):
            kinds[found[1]][int(found[2])] = file
    return kinds
