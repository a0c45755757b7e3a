"""Models that take images and give results."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import (
    build_model,
    build_stored_model,
    default_device,
    load_weights,
    not_built,
    read_checkpoint,
)
from paperzoo.apis.config import load_config
from paperzoo.apis.config_errors import merge
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import pixels_of
from paperzoo.apis.predictor import Predictor as Predictor
from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError, check_choice
from paperzoo.preflight.common_values import check_values
from paperzoo.runtime.card import is_exported
from paperzoo.runtime.sessions import open_session
from paperzoo.utils.work_dirs import checkpoint_in

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

PRECISIONS = ('float32', 'auto', 'bfloat16', 'float16')


def load(
    checkpoint: str | Path,
    config: 'str | Path | Config | None' = None,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    device: str | None = None,
    score: float = 0.3,
    precision: str = 'float32',
    fuse: bool = False,
) -> ImageModel:
    """Return a model with its weights, to be called with images.

    A file of `paperzoo export` (`.onnx`, or `.xml` of OpenVINO) runs without torch and
    mm*, which are not imported.

    The config that the checkpoint holds is read as data and never run (see
    `paperzoo.apis.stored_config`).

    Args:
        checkpoint: File, work dir (its best checkpoint, else the last) or URL, or an
            exported file.
        config: A path or a bare name, or what `load_config` gives; by default the
            config that the checkpoint holds.
        cfg_options: Overrides by dotted key, such as `{'model.test_cfg.nms_pre': 100}`.
        device: Where the model runs, such as `'cpu'`; by default the GPU if there is
            one.
        score: Objects that score lower are left out of the results.
        precision: `'float32'`; `'bfloat16'`, which is faster where the device computes
            in it and rounds to three digits; `'float16'`, on a GPU only; or `'auto'`,
            bfloat16 where the device computes in it.
        fuse: Fold batch norms into convolutions and keep channels last: the same
            results up to rounding, faster. The model is then for prediction alone.

    Raises:
        UserError: If the checkpoint cannot be read or belongs to another model, if the
            config is not known or holds more than data, if its model takes no images,
            or if there is no such device, or no such precision on it.

    Example:
        >>> import paperzoo, tempfile, torch
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = paperzoo.build_model(cfg, 'cpu')
        >>> with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        ...     torch.save({'state_dict': model.state_dict()}, file.name)
        ...     paperzoo.load(file.name, cfg, device='cpu')
        Predictor(FCOS, 7 classes, on cpu)
    """
    checkpoint = checkpoint_in(checkpoint)
    if is_exported(checkpoint):
        if config is not None or cfg_options:
            raise UserError(
                f"'{checkpoint}' is an exported file: it takes no config and no "
                'overrides, all settings are in it'
            )
        return ExportedModel(open_session(checkpoint), pixels_of, score=score)
    import torch

    check_choice('load', 'precision', precision, PRECISIONS)
    check_stack()
    settings: dict[str, Any] = {'score': score, 'precision': precision, 'fuse': fuse}
    if config is None:
        return _load_alone(
            checkpoint, cfg_options, device or default_device(), settings
        )
    named = isinstance(config, str | Path)
    cfg: Any = load_config(config, cfg_options) if named else config
    if not named and cfg_options:
        cfg = cfg.copy()
        merge(cfg, cfg_options)
        check_values(cfg)
    check_stack(cfg.get('default_scope'))
    with torch.random.fork_rng(devices=[]):  # random weights, soon replaced
        model = build_model(cfg, device)
    meta = load_weights(model, checkpoint)
    from paperzoo.preflight.build_errors import spelling_explained

    with spelling_explained(cfg):
        return predictor_of(model, cfg, meta, **settings)


def _load_alone(
    checkpoint: str | Path,
    cfg_options: Mapping[str, Any] | None,
    device: str,
    settings: dict[str, Any],
) -> 'Predictor':
    import torch

    # It brings the remedies, and so torch: not for who only asks for help.
    from paperzoo.apis.stored_config import stored_config

    loaded = read_checkpoint(checkpoint)
    cfg = stored_config(loaded.get('meta') or {}, str(checkpoint))
    if cfg_options:
        merge(cfg, cfg_options)
        check_values(cfg)
    with torch.random.fork_rng(devices=[]):
        model = build_stored_model(cfg, device, str(checkpoint))
    meta = load_weights(model, checkpoint, loaded)
    try:
        return predictor_of(model, cfg, meta, **settings)
    except UserError:
        raise
    except Exception as error:  # Anything: it may come from anywhere.
        raise not_built(checkpoint, 'a pipeline', error) from error


def predictor_of(
    model: 'nn.Module', cfg: 'Config', meta: dict, **settings: Any
) -> 'Predictor':
    """Return what calls a model with images.

    Args:
        model: For detection, segmentation or few-shot classification, in evaluation
            mode, with its weights.
        cfg: Its config.
        meta: Of its checkpoint.
        settings: `score`, `precision` and `fuse`, as of `load`.

    Raises:
        UserError: If the model has another task, or nothing says the class names.

    Example:
        >>> import paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> cfg = paperzoo.load_config('protonet_tiny_glyphs')
        >>> predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        FewShotPredictor(ProtoNet, 0 classes, on cpu)
    """
    if hasattr(model, 'predict_from_feats'):
        from paperzoo.apis.few_shot import FewShotPredictor

        return FewShotPredictor(model, cfg, **settings)
    return Predictor(model, cfg, meta, **settings)
