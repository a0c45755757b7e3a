"""Which checkpoint of a work dir is meant."""

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
        last = folder / Path(pointer.read_text().strip()).name
        if last.is_file():
            return str(last)
    raise UserError(
        f"'{given}' holds no checkpoint: neither best_*.pth nor one that a file "
        'last_checkpoint names. Name the work dir of a training, or a file'
    )
