"""What a killed training leaves in its folder of checkpoints, and nobody needs.

A file is removed only if the `CheckpointHook` of the training itself would have given
it this name, in its own folder, and only if it is a file: what a checkpoint says is
never taken for a path.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from string import Formatter
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook

from paperzoo.utils.work_dirs import last_checkpoint

# In the message hub, and so in each checkpoint: the files that it makes superfluous.
DISPLACED = 'displaced_ckpts'


def remove_displaced(runner: Any, resumed: str) -> None:
    """Remove what the resumed checkpoint has displaced, where a kill came before.

    Temporary files of checkpoints go, too: the work dir has one training only.

    Args:
        runner: After its hooks' `before_train`.
        resumed: The checkpoint; it stays in any case.

    Example:
        >>> from unittest.mock import Mock
        >>> from mmengine.runner import Runner
        >>> remove_displaced(Mock(Runner, hooks=[]), 'epoch_1.pth')  # no checkpoints
    """
    for hook, folder in _writers(runner):
        info = runner.message_hub.runtime_info
        named = info.get(DISPLACED)
        names = named if isinstance(named, list) else []
        kept = {hook.filename_tmpl.format(one) for one in info.get('keep_ckpt_ids', [])}
        kept |= {Path(resumed).name} | _current(hook)
        own = [_step(hook)] * (hook.max_keep_ckpts > 0)
        own += [_best(hook)] * bool(hook.save_best)
        written = '|'.join([_step(hook), _best(hook), 'last_checkpoint'])
        for file in _files(folder):
            temporary = re.fullmatch(rf'({written})(\..+)?\.tmp', file.name)
            displaced = file.name in names and file.name not in kept
            if temporary or (displaced and re.fullmatch('|'.join(own), file.name)):
                _remove(runner, file)


def remove_unrecorded(runner: Any, resumed: float) -> None:
    """Remove best checkpoints that were written later than what was resumed.

    A kill came before the training's checkpoint took note of them. If the resumed
    training writes them again, they are its own and stay.

    Args:
        runner: After a pending validation.
        resumed: When the resumed checkpoint was written, in seconds since 1970.

    Example:
        >>> from types import SimpleNamespace
        >>> remove_unrecorded(SimpleNamespace(hooks=[], _load_from=None), resumed=0.0)
    """
    if not _resumes_the_last(runner):
        return
    for hook, folder in _writers(runner):
        if not hook.save_best:
            continue
        for file in _files(folder):
            unknown = file.name not in _current(hook)
            later = file.stat().st_mtime > resumed
            if unknown and later and re.fullmatch(_best(hook), file.name):
                _remove(runner, file)


def _resumes_the_last(runner: Any) -> bool:
    """Return whether nothing newer was passed over, on purpose, for an older one."""
    if runner._load_from is None:
        return True
    last = last_checkpoint(runner.work_dir)
    return last is not None and os.path.realpath(last) == os.path.realpath(
        runner._load_from
    )


def _writers(runner: Any) -> list[tuple[CheckpointHook, Path]]:
    """Return the hooks that write checkpoints into folders, with these."""
    if not is_main_process():
        return []
    return [
        (hook, Path(str(hook.out_dir)))
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook)
        and isinstance(hook.file_backend, LocalBackend)
    ]


def _step(hook: CheckpointHook) -> str:
    """Return a pattern of the names of the hook's checkpoints."""
    return ''.join(
        re.escape(text) + ('' if field is None else r'\d+')
        for text, field, _, _ in Formatter().parse(hook.filename_tmpl)
    )


def _best(hook: CheckpointHook) -> str:
    return f'best_.+_{_step(hook)}'


def _current(hook: Any) -> set[str]:
    """Return the names of the best checkpoints."""
    paths = [getattr(hook, 'best_ckpt_path', None)]
    paths += getattr(hook, 'best_ckpt_path_dict', {}).values()
    return {Path(str(path)).name for path in paths if path}


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if one.is_file() and not one.is_symlink()]


def _remove(runner: Any, file: Path) -> None:
    with suppress(OSError):
        file.unlink()
        runner.logger.info(f'{file} is removed: a killed training left it behind.')
