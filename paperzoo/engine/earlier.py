"""A new training leaves what an earlier one has written in its work dir as it is."""

import re
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

# Checkpoints as they are named by default, and what tells of them.
_OWN = re.compile(
    r'(epoch|iter)_\d+\.pth|best_.+\.pth|last_checkpoint|last_validation|'
    r'early_stopping\.json|curves\.png'
)


def set_aside(runner: Any) -> None:
    """Move the files of an earlier training to a folder of the work dir.

    Logs have a folder for each training anyway. Weights that the new training begins
    at are found where they go.

    Args:
        runner: Before a training that is not resumed; its `work_dir` is looked at.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> from mmengine.logging import MMLogger
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / 'epoch_2.pth').touch()
        >>> runner = SimpleNamespace(
        ...     work_dir=str(folder), _load_from=str(folder / 'epoch_2.pth'),
        ...     logger=MMLogger('a', log_level='ERROR'))
        >>> set_aside(runner)
        >>> Path(runner._load_from).relative_to(folder).as_posix()
        'earlier_1/epoch_2.pth'
    """
    begins_at: list[Any] = [runner._load_from]
    if is_main_process():
        folder = Path(runner.work_dir)
        files = [one for one in folder.iterdir() if _OWN.fullmatch(one.name)]
        files = [one for one in files if one.is_file() or one.is_symlink()]
        if any(one.suffix == '.pth' for one in files):
            begins_at = [_moved(files, _free(folder), runner)]
    broadcast_object_list(begins_at)
    runner._load_from = begins_at[0]


def _free(folder: Path) -> Path:
    number = 1
    while (folder / f'earlier_{number}').exists():
        number += 1
    return folder / f'earlier_{number}'


def _moved(files: list[Path], target: Path, runner: Any) -> Any:
    """Move files; return where the weights to begin at are now."""
    begins_at = runner._load_from
    target.mkdir()
    for file in files:
        same = begins_at and Path(begins_at).resolve() == file.resolve()
        file.rename(target / file.name)
        begins_at = str(target / file.name) if same else begins_at
    runner.logger.warning(
        f'{len(files)} files of an earlier training are now in {target}; '
        '--resume would have gone on with it.'
    )
    return begins_at
