"""Trainings: what is looked at before, what watches them, what they leave behind."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_runner, own_instances
from paperzoo.apis.config import load_config, set_work_dir
from paperzoo.apis.config_errors import merge
from paperzoo.apis.vis_backends import add_backend
from paperzoo.errors import UserError
from paperzoo.preflight.common_values import check_values, require
from paperzoo.utils.work_dirs import last_checkpoint

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

_NOTHING_TO_RESUME = "'{}' holds no checkpoint to go on from: the training begins anew"


@dataclass(frozen=True)
class Trained:
    """What a training has left behind.

    Args:
        work_dir: Folder of its logs and checkpoints.
        checkpoint: The last one, for `paperzoo.load`; None if none was written.
    """

    work_dir: Path
    checkpoint: Path | None


def train(
    config: 'str | Path | Config',
    *,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
    amp: bool = False,
    compile_backend: str | None = None,
    vis: Sequence[str] = (),
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    auto_scale_lr: bool = False,
    from_scratch: bool = False,
    resume: bool | str | Path = False,
    preflight: bool = True,
    finite_check: bool = True,
    cache_images: bool = False,
) -> Trained:
    """Train the model of a config, as `paperzoo train` does.

    Args:
        config: A path or a bare name, or what `load_config` gives; that one changes.
        cfg_options: Overrides by dotted key, such as `{'train_cfg.max_epochs': 2}`.
        work_dir: Where logs and checkpoints go; by default what the config says, else
            `work_dirs/` and the config's name.
        amp: Mixed precision, in validation too: float16 on a GPU, bfloat16 on a CPU.
        compile_backend: Of `torch.compile`, such as `'inductor'`, for backbone, neck
            and heads, each by itself; by default what the config says.
        vis: Also log to these: `'tensorboard'`, `'wandb'`, `'mlflow'`.
        epochs: Passes over the training images; the schedule moves along, but for what
            `cfg_options` sets.
        batch_size: Of each process, in the training; the schedule moves along, the
            learning rate does not.
        lr: Learning rate.
        auto_scale_lr: Scale the learning rate from the config's `base_batch_size` to
            the real batch size.
        from_scratch: Begin at random weights, with nothing frozen.
        resume: Go on from a checkpoint; True from the last one in the work dir, or
            begin there if it holds none.
        preflight: Look at config, data and work dir before.
        finite_check: Stop at a loss that is NaN or infinite.
        cache_images: Keep the decoded training images, as far as half of the free
            memory holds them.

    Raises:
        UserError: If there is something wrong with config, data, options, work dir or
            the checkpoint to resume, another training uses the work dir, or the loss is
            no longer finite.

    Example:
        >>> import paperzoo, tempfile
        >>> paperzoo.train('fcos_r50_fpn', work_dir='/dev/null')
        Traceback (most recent call last):
        paperzoo.errors.UserError: ...
    """
    cfg = config_to_train(config, cfg_options, work_dir)
    set_training_options(
        cfg,
        amp=amp,
        compile_backend=compile_backend,
        vis=vis,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        auto_scale_lr=auto_scale_lr,
        from_scratch=from_scratch,
        resume=resume,
        cache_images=cache_images,
        cfg_options=cfg_options,
    )
    from paperzoo.apis.curves import curves_drawn
    from paperzoo.engine.earlier import set_aside
    from paperzoo.engine.first_steps import first_steps_explained
    from paperzoo.engine.random_state import make_resumable
    from paperzoo.engine.resume import resume_completely
    from paperzoo.engine.work_dir_lock import own_work_dir
    from paperzoo.engine.workers import workers_ended
    from paperzoo.preflight.build_errors import building_explained

    launcher = cfg.get('launcher', 'none')
    with own_instances(), own_work_dir(cfg.work_dir, launcher):
        runner = _runner(cfg, preflight=preflight)
        _find_last(runner)
        if not runner._resume:
            set_aside(runner)
        make_resumable(runner)
        resume_completely(runner)
        watch(runner, preflight=preflight, finite_check=finite_check)
        with (
            building_explained(cfg),
            curves_drawn(runner),
            first_steps_explained(runner),
            workers_ended(runner),
        ):
            runner.train()
    last = last_checkpoint(runner.work_dir)
    return Trained(Path(runner.work_dir), Path(last) if last else None)


def replay_step(
    config: 'str | Path | Config',
    file: str,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
) -> str:
    """Run again the step of a training whose loss was not finite; return what is seen.

    Args:
        config: Of the training.
        file: What the training has written when it stopped.
        cfg_options: As of `train`.
        work_dir: As of `train`.

    Raises:
        UserError: If the file is not the saved state of a stopped training.

    Example:
        >>> import tempfile
        >>> from paperzoo.apis.training import replay_step
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replay_step('fcos_tiny_shapes', 'no_such.pth', work_dir=folder)
        Traceback (most recent call last):
        paperzoo.compat.checkpoints.MissingCheckpointError: ...
    """
    from paperzoo.engine.finite_loss import replay

    cfg = config_to_train(config, cfg_options, work_dir)
    with own_instances():
        return replay(_runner(cfg, preflight=False, dump='_replay'), file)


def config_to_train(
    config: 'str | Path | Config',
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
) -> 'Config':
    """Return the config of a run, loaded if it is a path or a name.

    Args:
        config: A path or a bare name, or what `load_config` gives; that one changes.
        cfg_options: Overrides by dotted key.
        work_dir: Where logs and checkpoints go.

    Raises:
        UserError: If there is no such config.

    Example:
        >>> from paperzoo.apis.training import config_to_train
        >>> config_to_train('fcos_tiny_shapes', work_dir='here').work_dir
        'here'
    """
    if isinstance(config, str | Path):
        return load_config(config, cfg_options, work_dir=work_dir)
    if cfg_options:
        merge(config, cfg_options)
        check_values(config)
    set_work_dir(config, work_dir)
    return config


def _runner(cfg: 'Config', *, preflight: bool, dump: str = '') -> 'Runner':
    from paperzoo.engine.random_state import adopt_seed

    # Weights to start from (load_from without resume) may come from another model.
    require(
        cfg,
        *('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
        what='a training',
    )
    strict = bool(cfg.get('resume'))
    adopt_seed(cfg)
    if preflight:
        look_first(cfg)
    return build_runner(cfg, strict=strict, dump=dump)


def _find_last(runner: 'Runner') -> None:
    """Let a runner resume what the work dir itself holds, or begin there."""
    # In the runner: the config that it leaves behind goes on to mean the last one.
    if not runner._resume or runner._load_from is not None:
        return
    last = last_checkpoint(runner.work_dir)
    runner._resume, runner._load_from = last is not None, last
    if last is None:
        runner.logger.warning(_NOTHING_TO_RESUME.format(runner.work_dir))
    else:
        runner.logger.info(f'The training goes on from {last}')


def set_training_options(
    cfg: 'Config',
    *,
    amp: bool = False,
    compile_backend: str | None = None,
    vis: Sequence[str] = (),
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    auto_scale_lr: bool = False,
    from_scratch: bool = False,
    resume: bool | str | Path = False,
    cache_images: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Write the options of `train` into a config.

    Args:
        cfg: Changes.
        amp: As of `train`.
        compile_backend: As of `train`.
        vis: As of `train`.
        epochs: As of `train`.
        batch_size: As of `train`.
        lr: As of `train`.
        auto_scale_lr: As of `train`.
        from_scratch: As of `train`.
        resume: As of `train`.
        cache_images: As of `train`.
        cfg_options: What of the config was set so; it stays, whatever moves along.

    Raises:
        UserError: If the config has no base batch size to scale by, or no place for
            another length, batch size or rate, or `resume` is an empty text.

    Example:
        >>> from paperzoo.apis.config import load_config, set_work_dir
        >>> from paperzoo.apis.training import set_training_options
        >>> cfg = load_config('fcos_tiny_shapes')
        >>> set_training_options(cfg, auto_scale_lr=True, resume='epoch_3.pth')
        >>> cfg.auto_scale_lr.enable, cfg.resume, cfg.load_from
        (True, True, 'epoch_3.pth')
    """
    if (epochs, batch_size, lr) != (None, None, None):
        from paperzoo.apis.schedule import set_schedule

        set_schedule(
            cfg, epochs=epochs, batch_size=batch_size, lr=lr, cfg_options=cfg_options
        )
    if amp:
        use_amp(cfg)
    from paperzoo.engine.compile import use_compile

    backend = {'backend': compile_backend} if compile_backend else None
    use_compile(cfg, backend or cfg.get('compile', False))
    for name in vis:
        add_backend(cfg, name)
    if cache_images:
        _add_hook(cfg, {'type': 'paperzoo.CacheImagesHook'})
    if auto_scale_lr:
        if (cfg.get('auto_scale_lr') or {}).get('base_batch_size') is None:
            raise UserError(
                f'{cfg.filename}: --auto-scale-lr needs the batch size that the '
                'learning rate was set for: auto_scale_lr=dict(base_batch_size=16)'
            )
        cfg.auto_scale_lr.enable = True
    if from_scratch:
        from paperzoo.preflight.random_weights import begin_at_random

        begin_at_random(cfg)
    if resume == '':
        raise UserError('resume is empty: name a checkpoint, or say True for the last')
    if resume is True and last_checkpoint(cfg.work_dir) is None:
        # What the config begins with stays: load_from.
        cfg.resume = False
        warnings.warn(_NOTHING_TO_RESUME.format(cfg.work_dir), stacklevel=2)
    elif resume:
        cfg.resume = True
        cfg.load_from = None if resume is True else str(resume)


def use_amp(cfg: 'Config') -> None:
    """Let a config train in mixed precision: float16 on a GPU, bfloat16 on a CPU.

    It warns on a CPU that has no bfloat16.

    Args:
        cfg: Changes.

    Example:
        >>> from paperzoo.apis.config import load_config, set_work_dir
        >>> from paperzoo.apis.training import use_amp
        >>> cfg = load_config('fcos_tiny_shapes')
        >>> use_amp(cfg)
        >>> cfg.optim_wrapper.type in ('AmpOptimWrapper', 'paperzoo.Bf16OptimWrapper')
        True
    """
    from mmengine.device import is_cuda_available

    if is_cuda_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        dtype = cfg.optim_wrapper.get('dtype') or 'float16'
        _add_hook(cfg, {'type': 'paperzoo.PrecisionHook', 'evaluation': dtype})
        return
    from paperzoo.utils.precision import native_bfloat16

    native = native_bfloat16('cpu')
    if not native:
        warnings.warn(
            '--amp: this CPU has no bfloat16 units, and torch imitates them: a step '
            'took 28 times as long as in float32 where it was measured. Train without '
            '--amp here',
            stacklevel=2,
        )
    cfg.optim_wrapper.type = 'paperzoo.Bf16OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)
    # Without it bfloat16 convolutions are slower than those of float32.
    _add_hook(cfg, {'type': 'paperzoo.ChannelsLastHook'})
    if native:
        _add_hook(cfg, {'type': 'paperzoo.PrecisionHook', 'evaluation': 'bfloat16'})


def _add_hook(cfg: 'Config', hook: dict[str, Any]) -> None:
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def look_first(cfg: 'Config') -> None:
    """Look for what would fail later, or teach the model the wrong thing.

    Args:
        cfg: The config, complete.

    Raises:
        UserError: If the training would fail, or learn the wrong thing; the message has
            a paragraph for each thing that is wrong.

    Example:
        >>> from paperzoo.apis.config import load_config, set_work_dir
        >>> from paperzoo.apis.training import look_first
        >>> cfg = load_config('fcos_tiny_shapes', {'model.type': 'mmdet.FCSO'})
        >>> look_first(cfg)
        Traceback (most recent call last):
        paperzoo.errors.UserError: ...
    """
    from paperzoo.preflight.run import check_before_training
    from paperzoo.preflight.spelling import check_config

    check_config(cfg, '(Without these checks: --no-preflight)')
    check_before_training(cfg)


def watch(
    runner: 'Runner', *, preflight: bool = True, finite_check: bool = True
) -> None:
    """Let a training stop where there is nothing to do, at a NaN, before a full disk.

    Args:
        runner: Before its training.
        preflight: Whether to ask for room for checkpoints.
        finite_check: Whether to look at the loss, where the config does not.

    Raises:
        UserError: If the disk has no room for checkpoints, or an op of the model is
            missing.

    Example:
        >>> from types import SimpleNamespace
        >>> from paperzoo.apis.training import watch
        >>> hooks = []
        >>> runner = SimpleNamespace(hooks=hooks, register_hook=hooks.append)
        >>> watch(runner, preflight=False)
        >>> [type(hook).__name__ for hook in hooks]
        ['WorkLeftHook', 'FitClassesHook', 'DataTimeHook', ..., 'FiniteLossHook']
    """
    from paperzoo.apis.model_ops import check_ops
    from paperzoo.engine.data_time import DataTimeHook
    from paperzoo.engine.fine_tuning import FitClassesHook
    from paperzoo.engine.finite_loss import FiniteLossHook
    from paperzoo.engine.precision import PrecisionHook
    from paperzoo.engine.work_left import WorkLeftHook
    from paperzoo.preflight.run import check_space

    runner.register_hook(WorkLeftHook())
    runner.register_hook(FitClassesHook())
    wanted: list[type[Hook]] = [DataTimeHook, PrecisionHook]
    wanted += [FiniteLossHook] if finite_check else []
    for hook in wanted:
        if not any(isinstance(one, hook) for one in runner.hooks):
            runner.register_hook(hook())
    # A strategy (FSDP) builds the model only when the training begins.
    if preflight and not isinstance(runner.model, dict):
        check_ops(runner.model)
        check_space(runner)
