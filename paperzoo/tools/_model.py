"""What the scripts on a single model share: building, loading, class names, a bar."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError
from paperzoo.tools._shared import mismatch_message

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


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

    from paperzoo.engine.build_errors import spelling_explained

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


def class_names(cfg: 'Config', meta: dict) -> tuple[str, ...]:
    """Return the class names: the checkpoint's, else those of the config's data set.

    Args:
        cfg: The config.
        meta: Of the checkpoint.

    Raises:
        UserError: If neither says them.
    """
    from paperzoo.engine.findings import data_sets

    known = {key.lower(): value for key, value in meta.items()}
    found = (known.get('dataset_meta') or {}).get('classes') or known.get('classes')
    for split in ('test', 'val', 'train'):
        for one in data_sets(cfg, split):
            found = found or one.classes
    if not found:
        raise UserError(
            'neither the checkpoint nor the config says the names of the classes: add '
            "metainfo=dict(classes=('a', 'b')) to test_dataloader.dataset"
        )
    return tuple(found)


def dataset_config(cfg: 'Config', split: str) -> dict:
    """Return the config of a split's data set without wrappers around it, or {}."""
    spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
    while isinstance(spec.get('dataset'), dict):
        spec = spec['dataset']
    if 'datasets' in spec:
        spec = spec['datasets'][0]
    return spec


def image_pipeline(cfg: 'Config') -> list[dict]:
    """Return the test pipeline without the steps that load annotations.

    Raises:
        UserError: If the config has none.
    """
    steps = dataset_config(cfg, 'test').get('pipeline') or cfg.get('test_pipeline')
    if not steps:
        raise UserError(f'{cfg.filename}: no test_dataloader.dataset.pipeline')
    return [step for step in steps if 'Annotations' not in type_name(step['type'])]


def test_scale(cfg: 'Config') -> tuple[tuple[int, int] | None, bool]:
    """Return the scale of the test pipeline's `Resize`, and whether it keeps ratios.

    Without a `Resize`, images keep their size: None.

    Args:
        cfg: The config.

    Raises:
        UserError: If the pipeline resizes in a way that is not understood.
    """
    split = 'test' if cfg.get('test_dataloader') else 'val'
    for step in dataset_config(cfg, split).get('pipeline') or []:
        name = type_name(step['type'])
        if 'Resize' not in name:
            continue
        scale = step.get('scale')
        if name != 'Resize' or scale is None:
            raise UserError(
                f'{cfg.filename}: the test pipeline resizes by {dict(step)}; only '
                'Resize with a scale is understood here. Give one by --cfg-options'
            )
        sides = (scale, scale) if isinstance(scale, int) else tuple(scale)
        return sides, step.get('keep_ratio', False)
    return None, False


def type_name(kind: Any) -> str:
    """Return the name of a type that a config gives as a text or as a class."""
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def track(items: Sequence[Any], text: str) -> Iterable[Any]:
    """Yield the items beside a bar with the time left, on a terminal only."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f'{text}: {len(items)}', file=sys.stderr, flush=True)
    return rich_track(items, text, console=console, disable=not console.is_terminal)
