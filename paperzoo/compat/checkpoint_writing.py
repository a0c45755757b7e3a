"""Checkpoints that are either whole or not there, whatever ends the writing.

Ailment: mmengine writes a checkpoint in place, and `last_checkpoint` too: a process
killed meanwhile leaves half a file under the right name, a full disk likewise. And
`CheckpointHook` deletes the oldest (or so far best) checkpoint before the new one is
written, with `max_keep_ckpts=1` the only one. On resume it deletes whatever file or
folder the checkpoint names as the best one so far.
Upstream thread: none; mmengine/runner/checkpoint.py (`save_checkpoint`),
mmengine/hooks/checkpoint_hook.py.
Delete when: the supported mmengine renames a finished file, and deletes afterwards.

A file is written beside its place, synced, and renamed. Only when it and
`last_checkpoint` are in place are old ones deleted. Nothing is deleted but what is
named as the hook names its checkpoints, in the hook's own folder.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from paperzoo.errors import UserError
from paperzoo.utils.files import write_safely

_MARK = '_paperzoo_writes_safely'


def apply() -> None:
    """Replace mmengine's `save_checkpoint` and the order of its `CheckpointHook`."""
    if find_spec('mmengine') is None:
        return
    import mmengine.runner.checkpoint as home
    from mmengine.hooks import CheckpointHook

    if hasattr(home.save_checkpoint, _MARK):
        return
    theirs = home.save_checkpoint
    ours = _safe_save(theirs)
    for name, module in list(sys.modules.items()):
        if (
            name.partition('.')[0] == 'mmengine'
            and vars(module).get('save_checkpoint') is theirs
        ):
            setattr(module, 'save_checkpoint', ours)  # noqa: B010 (mypy: a module)
    CheckpointHook.before_train = _forget_foreign(CheckpointHook.before_train)
    CheckpointHook._save_checkpoint_with_step = _save_with_step
    CheckpointHook._save_best_checkpoint = _delete_last(
        CheckpointHook._save_best_checkpoint
    )


def _safe_save(theirs: Callable[..., None]) -> Callable[..., None]:
    def save_checkpoint(
        checkpoint: dict,
        filename: str,
        file_client_args: dict | None = None,
        backend_args: dict | None = None,
    ) -> None:
        """Write a checkpoint: safely into a file, elsewhere as mmengine does."""
        from mmengine.fileio import LocalBackend, get_file_backend

        elsewhere = file_client_args is not None or str(filename).startswith('pavi://')
        if elsewhere or not isinstance(
            get_file_backend(filename, backend_args=backend_args), LocalBackend
        ):
            theirs(checkpoint, filename, file_client_args, backend_args)
            return
        with _advice(Path(filename).parent):
            write_safely(Path(filename), lambda file: torch.save(checkpoint, file))

    setattr(save_checkpoint, _MARK, True)
    return save_checkpoint


@contextmanager
def _advice(folder: Path) -> Iterator[None]:
    """Say how the training goes on if a checkpoint cannot be written."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{error}{_how_to_go_on(folder)}') from error


def _how_to_go_on(folder: Path) -> str:
    # From a best one no training goes on: it has no optimizer state.
    others = [
        file
        for file in folder.glob('*.pth')
        if file.is_file() and not file.name.startswith('best_')
    ]
    newest = max(others, key=lambda file: file.stat().st_mtime, default=None)
    if newest is None:
        return ' (--work-dir names another place)'
    return (
        ' (default_hooks.checkpoint.out_dir, '
        'default_hooks.checkpoint.max_keep_ckpts=1), then '
        f"go on with --resume: '{newest.name}' is the newest checkpoint"
    )


def _save_with_step(hook: Any, runner: Any, step: int, meta: dict) -> None:
    """Stand in for `CheckpointHook._save_checkpoint_with_step`: delete last."""
    from mmengine.dist import is_main_process

    outdated = _rotate(hook, runner, step) if hook.max_keep_ckpts > 0 else []
    name = hook.filename_tmpl.format(step)
    hook.last_ckpt = hook.file_backend.join_path(hook.out_dir, name)
    runner.message_hub.update_info('last_ckpt', hook.last_ckpt)
    _note_displaced(hook, runner, outdated)
    runner.save_checkpoint(
        hook.out_dir,
        name,
        hook.file_client_args,
        save_optimizer=hook.save_optimizer,
        save_param_scheduler=hook.save_param_scheduler,
        meta=meta,
        by_epoch=hook.by_epoch,
        backend_args=hook.backend_args,
        **hook.args,
    )
    if not is_main_process():
        return
    last = Path(runner.work_dir, 'last_checkpoint')
    with _advice(last.parent):
        write_safely(last, lambda file: file.write(os.fsencode(str(hook.last_ckpt))))
    _remove_steps(hook, outdated)


def _note_displaced(hook: Any, runner: Any, outdated: list[int]) -> None:
    """Let the checkpoint say what it makes superfluous, should a kill spare that."""
    names = [hook.filename_tmpl.format(old) for old in outdated]
    names += [Path(path).name for path in getattr(hook.file_backend, 'removed', [])]
    runner.message_hub.update_info('displaced_ckpts', names)


def _rotate(hook: Any, runner: Any, step: int) -> list[int]:
    """Note that `step` is kept; return the steps that it displaces."""
    kept = [old for old in hook.keep_ckpt_ids if old != step] + [step]
    outdated = kept[: -hook.max_keep_ckpts]
    hook.keep_ckpt_ids.clear()
    hook.keep_ckpt_ids.extend(kept)
    # Before saving: the checkpoint itself says what is kept.
    runner.message_hub.update_info('keep_ckpt_ids', list(hook.keep_ckpt_ids))
    return outdated


def _remove_steps(hook: Any, steps: list[int]) -> None:
    for step in steps:
        name = hook.filename_tmpl.format(step)
        _remove(hook.file_backend, hook.file_backend.join_path(hook.out_dir, name))


def _remove(backend: Any, path: str) -> None:
    if os.path.islink(path):
        os.unlink(path)  # not what it points to
    elif backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):  # sharded checkpoints
        backend.rmtree(path)


def _forget_foreign(before_train: Callable[..., None]) -> Callable[..., None]:
    """Let `before_train` take from a checkpoint only names that are the hook's own."""

    def _before_train(self: Any, runner: Any) -> None:
        from mmengine.dist import is_main_process

        hub = runner.message_hub
        outdated: list[int] = []
        if self.max_keep_ckpts > 0 and 'keep_ckpt_ids' in hub.runtime_info:
            steps = _steps(hub.get_info('keep_ckpt_ids'))
            outdated = steps[: -self.max_keep_ckpts]
            hub.update_info('keep_ckpt_ids', steps[len(outdated) :])
        before_train(self, runner)
        if is_main_process():
            _remove_steps(self, outdated)
        if getattr(self, 'best_ckpt_path', None) is not None:
            self.best_ckpt_path = _own(self, hub, 'best_ckpt')
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            if path is not None:
                self.best_ckpt_path_dict[key] = _own(self, hub, f'best_ckpt_{key}')

    return _before_train


def _steps(recorded: Any) -> list[int]:
    listed = recorded if isinstance(recorded, list | tuple) else []
    return [step for step in listed if type(step) is int]


def _own(hook: Any, hub: Any, key: str) -> str | None:
    """Return the best checkpoint that was noted, if it is one of the hook's.

    One in another folder belongs to another training, unless its folder was moved here.
    """
    noted = hub.get_info(key)
    found = None
    if isinstance(noted, str) and _names_a_best(hook, os.path.basename(noted)):
        folder, name = os.path.split(noted)
        here = hook.file_backend.join_path(hook.out_dir, name)
        if os.path.realpath(folder) == os.path.realpath(hook.out_dir) or here == noted:
            found = noted
        elif not hook.file_backend.exists(noted) and hook.file_backend.exists(here):
            found = here
    if found is None:
        hub.pop_info(key)
    else:
        hub.update_info(key, found)
    return found


def _names_a_best(hook: Any, name: str) -> bool:
    return name.startswith('best_') and any(
        name.endswith('_' + hook.filename_tmpl.format(int(step)).replace('/', '_'))
        for step in re.findall(r'[0-9]{1,18}', name)
    )


def _delete_last(save_best: Callable[..., None]) -> Callable[..., None]:
    """Let `_save_best_checkpoint` delete the former best after saving the new one."""

    def _save_best_checkpoint(self: Any, runner: Any, metrics: dict) -> None:
        if not self.save_best:
            return
        with _late_removals(self) as removed:
            save_best(self, runner, metrics)
        current = {getattr(self, 'best_ckpt_path', None)}
        current.update(getattr(self, 'best_ckpt_path_dict', {}).values())
        for path in removed:
            # A resumed epoch writes the best checkpoint under the same name again.
            if path not in current:
                _remove(self.file_backend, path)

    return _save_best_checkpoint


class _LateBackend:
    """A file backend that notes what to remove instead of removing it."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)

    rmtree = remove


@contextmanager
def _late_removals(hook: Any) -> Iterator[list[str]]:
    backend = hook.file_backend
    hook.file_backend = late = _LateBackend(backend)
    try:
        yield late.removed
    finally:
        hook.file_backend = backend
