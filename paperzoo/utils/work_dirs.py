"""Which checkpoints of a work dir are meant."""

import os
import re
from pathlib import Path

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
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        # The folder may have moved, and is often named from elsewhere.
        last = folder / Path(os.fsdecode(pointer.read_bytes()).strip()).name
        if last.is_file():
            return str(last)
    raise UserError(
        f"'{given}' holds no checkpoint: neither best_*.pth nor one that a file "
        'last_checkpoint names. Name the work dir of a training, or a file'
    )


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
    kinds: dict[str, dict[int, Path]] = {'epoch': {}, 'iter': {}}
    for file in folder.glob('*.pth'):
        if found := re.fullmatch(r'(epoch|iter)_(\d+)', file.stem):
            kinds[found[1]][int(found[2])] = file
    kind, files = max(kinds.items(), key=lambda one: len(one[1]))
    if len(files) < 2:
        raise UserError(
            f"'{work_dir}' holds {len(files)} numbered checkpoints (epoch_1.pth, "
            'iter_500.pth), and a history needs two or more: let a training keep them, '
            '--cfg-options default_hooks.checkpoint.max_keep_ckpts=-1 '
            'default_hooks.checkpoint.interval=1'
        )
    unit = 'iteration' if kind == 'iter' else kind
    return unit, dict(sorted(files.items()))
