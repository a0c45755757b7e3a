"""Stop a training whose loss is no number any more, with what is needed to see why."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor

from paperzoo.engine.batch_serialization import from_plain, to_plain
from paperzoo.engine.first_nonfinite import bad_weights, diagnose, watch
from paperzoo.errors import UserError
from paperzoo.registry import HOOKS
from paperzoo.utils.files import write_safely
from paperzoo.utils.wrappers import unwrap_model

_WRAPPED = ('update_params', 'step')


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End the training at the first loss that is NaN or infinite.

    The loss is looked at between the backward pass and the optimizer's step, so the
    weights are still those that gave it. On a GPU its finiteness is copied while the
    backward pass is queued, so that the wait is for the forward pass only. The step is
    then run once more with a hook on every layer, and the state is written to the work
    dir; `paperzoo train CONFIG --replay FILE` runs it again.

    Example:
        >>> type(HOOKS.build(dict(type='paperzoo.FiniteLossHook'))).__name__
        'FiniteLossHook'
    """

    # After the hooks that change the batch, before the bar.
    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._batch: Any = None
        self._random: dict[str, Any] = {}
        self._finite: Tensor | None = None
        self._copied: torch.cuda.Event | None = None
        self._earlier: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Put the check between the backward pass and the optimizer's step."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or isinstance(
            wrapper, OptimWrapperDict
        ):
            return  # several optimizers: the model steps as it likes
        update, step = wrapper.update_params, wrapper.step
        own = vars(wrapper)  # the schedulers have put a step of theirs there
        self._earlier = {name: own[name] for name in _WRAPPED if name in own}

        def update_params(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self._note(loss)
            update(loss, *args, **kwargs)
            self._check(runner)  # where gradients are added up, not all steps step

        @wraps(step)  # with the mark by which the schedulers know theirs
        def checked_step(*args: Any, **kwargs: Any) -> None:
            self._check(runner)
            step(*args, **kwargs)

        wrapper.update_params = update_params
        wrapper.step = checked_step

    def after_train(self, runner: Runner) -> None:
        """Take the check away."""
        own = vars(runner.optim_wrapper)
        for name in _WRAPPED:
            own.pop(name, None)
        own.update(self._earlier)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Keep the batch and the random states until the step is done."""
        self._batch = data_batch
        self._random = _random_states()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Let go of the batch."""
        self._batch = None

    def _note(self, loss: Tensor) -> None:
        finite = loss.detach().isfinite().all()
        if finite.is_cuda:
            self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._finite.copy_(finite, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()
        else:
            self._finite, self._copied = finite, None

    def _check(self, runner: Runner) -> None:
        finite, self._finite = self._finite, None
        if finite is None:
            return
        if self._copied is not None:
            self._copied.synchronize()
        if not finite:
            raise UserError(self._report(runner))

    def _report(self, runner: Runner) -> str:
        try:
            file = _save_state(runner, self._batch, self._random)
            saved = (
                f'model, optimizer, batch and random states: {file}\nTo see it again: '
                f'paperzoo train {_dumped_config(runner)} --replay {file}'
            )
        except UserError as error:  # no room: the rest is worth saying all the same
            saved = str(error)
        found = _run_again(runner, self._batch, self._random)
        images = '\n'.join(f'  {path}' for path in _image_paths(self._batch))
        return (
            f'the loss is not finite at iteration {runner.iter + 1}; the training '
            f'stops before the weights are changed\n{found}\nimages of the batch:\n'
            f'{images}\n{saved}\n'
            'Often too high a learning rate or no warm-up: try '
            '--cfg-options optim_wrapper.optimizer.lr=..., optim_wrapper.clip_grad.'
            'max_norm=10, or float32 instead of --amp. Without this check: '
            '--no-finite-check'
        )


def _dumped_config(runner: Runner) -> Path:
    """Return the config that the runner wrote, with all options of the command."""
    name = Path(runner.cfg.filename or f'{runner.timestamp}.py').name
    return Path(runner.work_dir, name).absolute()


def _random_states() -> dict[str, Any]:
    """Return the states of all generators of random numbers."""
    states = {
        'python': random.getstate(),
        'numpy': np.random.get_state(),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


@contextmanager
def _with_random_states(states: dict[str, Any]) -> Iterator[None]:
    """Use other random states for a while.

    Args:
        states: What `random_states` returned.
    """
    before = _random_states()
    try:
        _set_random_states(states)
        yield
    finally:
        _set_random_states(before)


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states['python'])
    np.random.set_state(states['numpy'])
    torch.set_rng_state(states['torch'])
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'])


def _image_paths(batch: Any) -> list[str]:
    """Return the files of the images of a batch.

    Args:
        batch: As the data loader gives it.
    """
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return [
        str(sample.get('img_path', 'without a path'))
        for sample in samples or ()
        if hasattr(sample, 'metainfo')
    ] or ['the batch does not name its images']


def _save_state(runner: Runner, batch: Any, states: dict[str, Any]) -> Path:
    """Write what a step started from; the checking loader reads it.

    Batch norm's running statistics are those after the forward pass; a training step
    does not read them.

    Args:
        runner: The runner, in the middle of a step.
        batch: As the data loader gave it.
        states: The random states before the step.

    Returns:
        The file, in the work dir.
    """
    rank = f'_rank{get_rank()}' if get_rank() else ''
    file = Path(runner.work_dir, f'nonfinite_iter_{runner.iter + 1}{rank}.pth')
    state = {
        'state_dict': to_plain(dict(unwrap_model(runner.model).state_dict())),
        'optimizer': to_plain(runner.optim_wrapper.state_dict()),
        'batch': to_plain(batch),
        'random': to_plain(states),
        'meta': {'iter': runner.iter, 'epoch': runner.epoch},
    }
    return write_safely(file, lambda stream: torch.save(state, stream)).absolute()


def _run_again(runner: Runner, batch: Any, states: dict[str, Any]) -> str:
    """Run the forward pass of a step again and say what is not finite first.

    Args:
        runner: The runner.
        batch: As the data loader gave it.
        states: The random states before the step.
    """
    model: Any = unwrap_model(runner.model)
    weights = bad_weights(model)
    model.train()
    # Compiled modules would pass over the hooks.
    torch.compiler.set_stance('force_eager')
    try:
        with (
            _with_random_states(states),
            watch(model) as layers,
            runner.optim_wrapper.optim_context(model),
            torch.no_grad(),
        ):
            data = model.data_preprocessor(batch, True)
            losses = model._run_forward(data, mode='loss')
    finally:
        torch.compiler.set_stance('default')
    return diagnose(losses, layers, weights)


def replay(runner: Runner, file: str) -> str:
    """Run a step from a saved state and say what is not finite first.

    Args:
        runner: Of the same config; its model takes the saved weights.
        file: What the hook wrote.

    Raises:
        UserError: If the file is not the saved state of a stopped training.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from unittest.mock import Mock
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, redirect_stdout(None):
        ...     torch.save({}, f'{folder}/x.pth')
        ...     try:
        ...         replay(Mock(Runner), f'{folder}/x.pth')
        ...     except UserError as error:
        ...         message = str(error)
        >>> 'is no state of a step that failed' in message
        True
    """
    state = _load_checkpoint(file, map_location='cpu')
    if not {'state_dict', 'batch', 'random'} <= set(state):
        raise UserError(
            f"--replay '{file}' is no state of a step that failed: name a "
            'nonfinite_iter_N.pth of the work dir'
        )
    # Some hooks change the model there (its memory format, say).
    runner.call_hook('before_run')
    unwrap_model(runner.model).load_state_dict(state['state_dict'])
    if isinstance(runner.optim_wrapper, dict):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = from_plain(state['batch'])
    images = '\n'.join(f'  {path}' for path in _image_paths(batch))
    found = _run_again(runner, batch, from_plain(state['random']))
    return (
        f'iteration {state["meta"]["iter"] + 1}, run again:\n{found}\n'
        f'images of the batch:\n{images}'
    )
