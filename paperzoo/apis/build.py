"""Models and runners of configs, with the weights of checkpoints."""

from typing import TYPE_CHECKING

from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def build_runner(cfg: 'Config', *, strict: bool) -> 'Runner':
    """Return the runner of a config, with a bar of its progress in a terminal.

    Args:
        cfg: The config, complete.
        strict: Whether the checkpoint that it loads must fit the model exactly.

    Raises:
        UserError: If it cannot be built for a misspelt name.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from paperzoo.engine.progress import ProgressBarHook
    from paperzoo.preflight.build_errors import spelling_explained

    with spelling_explained(cfg):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.register_hook(ProgressBarHook())
    if not strict:
        return runner
    load = runner.load_checkpoint

    def load_strictly(filename: str, *args: object, **kwargs: object) -> dict:
        # MMEngine only warns, and goes on with random weights.
        kwargs['strict'] = True
        try:
            return load(filename, *args, **kwargs)
        except RuntimeError as error:
            if 'do not match exactly' not in str(error) and 'size mismatch' not in str(
                error
            ):
                raise
            raise UserError(mismatch_message(filename, str(error))) from error

    runner.load_checkpoint = load_strictly
    return runner


def mismatch_message(checkpoint: str, detail: str, lines: int = 6) -> str:
    """Return the message for a checkpoint that belongs to another model.

    Args:
        checkpoint: The checkpoint's file.
        detail: What MMEngine says about the keys.
        lines: How many lines of the detail to keep.
    """
    rows = [row[:300] for row in detail.splitlines() if row.strip()]
    return (
        f"checkpoint '{checkpoint}' belongs to another model:\n  "
        + '\n  '.join(rows[1 : lines + 1])
        + '\nGive the config that it was trained with (a copy lies beside it), or the '
        'checkpoint that belongs to this config. To start a training from the weights '
        'that do fit: --cfg-options load_from=CHECKPOINT'
    )


def build_model(cfg: 'Config', device: str) -> 'nn.Module':
    """Return the model of a config, in evaluation mode, with random weights.

    Args:
        cfg: The config.
        device: Where it goes.

    Raises:
        UserError: If there is no such device.
    """
    import torch
    from mmengine.registry import MODELS, init_default_scope

    from paperzoo.preflight.build_errors import spelling_explained

    check_device(device)
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    with spelling_explained(cfg):
        spec = cfg.model.copy()
        # As the Runner does it.
        if cfg.get('data_preprocessor') is not None:
            spec.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(spec)
    return model.to(torch.device(device)).eval()


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        UserError: If torch does not know it or it is not there.
    """
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f'--device {device}: {first}. Without a GPU: --device cpu'
        ) from error


def default_device() -> str:
    """Return `'cuda'` if there is a GPU, else `'cpu'`."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def load_weights(model: 'nn.Module', checkpoint: str) -> dict:
    """Load a checkpoint that must fit the model exactly; return its `meta`.

    Raises:
        UserError: If the checkpoint is not there or belongs to another model.
    """
    from mmengine.runner import load_checkpoint

    try:
        loaded = load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint '{checkpoint}' is not there: {error}") from error
    except RuntimeError as error:
        if 'do not match exactly' not in str(error):
            raise
        raise UserError(mismatch_message(checkpoint, str(error))) from error
    meta = loaded.get('meta') if isinstance(loaded, dict) else None
    return meta or {}
