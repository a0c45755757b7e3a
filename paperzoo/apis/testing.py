"""Tests of checkpoints: metrics with what a number is worth nothing without."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_runner, own_instances
from paperzoo.apis.training import config_to_train
from paperzoo.errors import UserError, check_choice
from paperzoo.preflight.common_values import require
from paperzoo.utils.families import family
from paperzoo.utils.files import refuse_unwritable, write_json
from paperzoo.utils.run_info import checkpoint_info, run_info
from paperzoo.utils.work_dirs import checkpoint_in

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def evaluate_checkpoint(
    config: 'str | Path | Config',
    checkpoint: str | Path,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    show_images: int = 24,
    show_score: float = 0.3,
    precision: str | None = None,
    preflight: bool = True,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[dict[str, float], Path | None]:
    """Test a checkpoint on the config's test set, as `paperzoo test` does.

    Args:
        config: A path or a bare name, or what `load_config` gives; that one changes.
        checkpoint: File, work dir (its best checkpoint, else the last) or URL.
        cfg_options: Overrides by dotted key.
        work_dir: Where logs and metrics go.
        out: Also write predictions and truth to this file: `.json` for `analyze`, or
            `.pkl` for mmengine's pickle of the raw predictions.
        show_dir: Also write pictures, truth beside prediction, to this folder.
        show_images: How many of them.
        show_score: What scores lower is not drawn.
        precision: As of `paperzoo.load`; by default as the config says.
        preflight: Look at config and data before.
        recorded: What else the file says of the test; by default the config's name and
            `cfg_options`.

    Returns:
        The metrics, and the file with them, versions and the checkpoint's hash (None on
        all processes but the first).

    Raises:
        UserError: If config, checkpoint or options are wrong.

    Example:
        >>> from paperzoo.apis.testing import evaluate_checkpoint
        >>> evaluate_checkpoint('fcos_tiny_shapes', 'epoch_1.pth', out='results.txt')
        Traceback (most recent call last):
        paperzoo.errors.UserError: --out 'results.txt' must end in .json or .pkl
    """
    given = {'config': str(getattr(config, 'filename', config))}
    checkpoint = checkpoint_in(checkpoint)
    cfg = config_to_train(config, cfg_options, work_dir)
    require(cfg, 'model', 'test_dataloader', 'test_evaluator', what='a test')
    if preflight:
        from paperzoo.preflight.run import check_before_test
        from paperzoo.preflight.spelling import check_config

        check_config(cfg, '(Without this check: --no-preflight)')
        check_before_test(cfg)
    set_test_options(
        cfg,
        checkpoint,
        out=out,
        show_dir=show_dir,
        show_images=show_images,
        show_score=show_score,
        precision=precision,
    )
    runner, metrics, seconds = _tested(cfg, preflight)
    if runner.rank != 0:
        return metrics, None
    record = {
        'metrics': metrics,
        'images': len(runner.test_dataloader.dataset),
        **({'precision': precision} if precision else {}),
        **(recorded or {**given, 'cfg_options': dict(cfg_options or {})}),
        **checkpoint_info(checkpoint),
        'seconds': seconds,
        **run_info(),
    }
    return metrics, write_json(Path(runner.log_dir) / 'test_metrics.json', record)


def _tested(cfg: 'Config', preflight: bool) -> 'tuple[Runner, dict[str, float], float]':
    """Return what has run the test, its metrics, and its seconds."""
    from paperzoo.engine.first_steps import first_steps_explained
    from paperzoo.engine.workers import workers_ended
    from paperzoo.preflight.build_errors import building_explained
    from paperzoo.preflight.checkpoint_classes import SameClassesHook

    with own_instances():
        runner = build_runner(cfg, strict=True, dump='_test')
        # Few-shot learning is tested on classes of its own.
        model = getattr(runner, 'model', None)
        if preflight and model is not None and family(model):
            runner.register_hook(SameClassesHook())
        start = time.time()
        with (
            building_explained(cfg),
            first_steps_explained(runner),
            workers_ended(runner),
        ):
            metrics = runner.test()
    return runner, metrics, round(time.time() - start, 1)


def set_test_options(
    cfg: 'Config',
    checkpoint: str,
    *,
    out: str | None = None,
    show_dir: str | None = None,
    show_images: int = 24,
    show_score: float = 0.3,
    precision: str | None = None,
) -> None:
    """Write the options of `evaluate_checkpoint` into a config.

    Args:
        cfg: Changes.
        checkpoint: File or URL.
        out: As of `evaluate_checkpoint`.
        show_dir: As of `evaluate_checkpoint`.
        show_images: As of `evaluate_checkpoint`.
        show_score: As of `evaluate_checkpoint`.
        precision: As of `evaluate_checkpoint`.

    Raises:
        UserError: If `out` is neither a JSON nor a pickle file, it or `show_dir` cannot
            be written, or there is no such precision, or not on the device.

    Example:
        >>> from paperzoo.apis.config import load_config
        >>> from paperzoo.apis.testing import set_test_options
        >>> cfg = load_config('fcos_tiny_shapes')
        >>> set_test_options(cfg, 'epoch_1.pth', out='results.json')
        >>> cfg.load_from, cfg.test_evaluator[-1].type
        ('epoch_1.pth', 'paperzoo.DumpRecords')
    """
    for place in filter(None, (out, show_dir)):
        refuse_unwritable(Path(place))
    cfg.load_from = checkpoint
    cfg.resume = False
    if precision is not None:
        _set_precision(cfg, precision)
    if show_dir:
        hook = dict(
            type='paperzoo.PicturePageHook',
            out_dir=show_dir,
            max_images=show_images,
            score_thr=show_score,
        )
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    if out:
        if out.endswith('.json'):
            dump = dict(type='paperzoo.DumpRecords', out_file=out)
        elif out.endswith(('.pkl', '.pickle')):
            dump = dict(type='paperzoo.DumpPickle', out_file_path=out)
        else:
            raise UserError(f"--out '{out}' must end in .json or .pkl")
        given = cfg.test_evaluator
        metrics = list(given) if isinstance(given, list | tuple) else [given]
        cfg.test_evaluator = [*metrics, dump]


def _set_precision(cfg: 'Config', asked: str) -> None:
    from mmengine.device import is_cuda_available

    from paperzoo.apis.inference import PRECISIONS
    from paperzoo.utils.precision import precision_on

    check_choice('a test', 'precision', asked, PRECISIONS)
    precision = precision_on('cuda' if is_cuda_available() else 'cpu', asked)
    hooks: list[dict] = [{'type': 'paperzoo.PrecisionHook', 'evaluation': precision}]
    if precision != 'float32':  # half is slower in the other memory format
        hooks.insert(0, {'type': 'paperzoo.ChannelsLastHook'})
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), *hooks]
