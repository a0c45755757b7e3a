"""Models that take images and give results."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
from paperzoo.apis.predictor import Predictor as Predictor
from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError, check_choice
from paperzoo.preflight.common_values import check_values
from paperzoo.runtime.card import FORMATS, is_exported
from paperzoo.runtime.sessions import open_session
from paperzoo.utils.families import family
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
            or if there is no such device, or no such precision on it. An exported
            file knows the CPU and float32 alone.

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
        if device not in (None, 'cpu') or precision not in ('float32', 'auto'):
            raise UserError(
                f"'{checkpoint}' is an exported file: it runs on the CPU in float32"
            )
        return _exported(checkpoint, score)
    if Path(checkpoint).suffix.lower() == FORMATS['torch']:
        raise UserError(
            f"'{checkpoint}' is a file of torch.export, which torch reads by pickle: "
            'it is not opened. Export the checkpoint as .onnx or .xml'
        )
    check_choice('load', 'precision', precision, PRECISIONS)
    model, cfg, meta = loaded_model(checkpoint, config, cfg_options, device)
    with pipeline_explained(cfg, checkpoint if config is None else None):
        return predictor_of(
            model, cfg, meta, score=score, precision=precision, fuse=fuse
        )


def _exported(file: str | Path, score: float) -> ImageModel:
    session = open_session(file)
    if session.card.task == 'few-shot':
        from paperzoo.apis.exported_few_shot import ExportedFewShot

        return ExportedFewShot(session)
    if session.card.task == 'sequence':
        from paperzoo.apis.sequences import ExportedSequences

        return ExportedSequences(session)
    return ExportedModel(session, score=score)


def loaded_model(
    checkpoint: str | Path,
    config: 'str | Path | Config | None' = None,
    cfg_options: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> tuple[Any, 'Config', dict[str, Any]]:
    """Return a model with its weights, its config, and the `meta` of its checkpoint.

    Args:
        checkpoint: As of `load`, and no exported file.
        config: As of `load`; stays as it is.
        cfg_options: As of `load`.
        device: As of `load`.

    Raises:
        UserError: If the checkpoint cannot be read or belongs to another model, the
            config is not known or holds more than data, or there is no such device.

    Example:
        >>> from paperzoo.apis.inference import loaded_model
        >>> loaded_model('no_such.pth', 'fcos_tiny_shapes', device='cpu')
        Traceback (most recent call last):
        paperzoo.compat.checkpoints.MissingCheckpointError: there is no checkpoint ...
    """
    import torch

    # It brings the remedies, and so torch: not for who only asks for help.
    from paperzoo.apis.stored_config import stored_config

    check_stack()
    loaded, cfg = None, cast('Config', config)
    if config is None:
        loaded = read_checkpoint(checkpoint)
        cfg = stored_config(loaded.get('meta') or {}, str(checkpoint))
    elif isinstance(config, str | Path):
        cfg, cfg_options = load_config(config, cfg_options), None
    if cfg_options:
        cfg = cfg.copy()
        merge(cfg, cfg_options)
        check_values(cfg)
    check_stack(cfg.get('default_scope'))
    with torch.random.fork_rng(devices=[]):  # random weights, soon replaced
        if loaded is None:
            model = build_model(cfg, device)
        else:
            model = build_stored_model(cfg, device or default_device(), str(checkpoint))
    return model, cfg, load_weights(model, checkpoint, loaded)


@contextmanager
def pipeline_explained(cfg: 'Config', stored_in: str | Path | None) -> Iterator[None]:
    """Say in one message why the pipeline of images cannot be built.

    Args:
        cfg: The config.
        stored_in: The checkpoint that holds it; None for a config from elsewhere.

    Raises:
        UserError: If a misspelt name, or anything in a stored config, keeps it from
            being built.

    Example:
        >>> from paperzoo.apis.inference import pipeline_explained
        >>> with pipeline_explained({}, 'a.pth'):
        ...     raise KeyError('Resise')
        Traceback (most recent call last):
        paperzoo.errors.UserError: the config in the checkpoint 'a.pth' does not ...
    """
    from paperzoo.preflight.build_errors import spelling_explained

    if stored_in is None:
        with spelling_explained(cfg):
            yield
        return
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Anything: it may come from anywhere.
        raise not_built(stored_in, 'a pipeline', error) from error


def predictor_of(
    model: 'nn.Module', cfg: 'Config', meta: dict, **settings: Any
) -> 'Predictor':
    """Return what calls a model with images.

    Args:
        model: For detection, segmentation, few-shot classification or sequences, in
            evaluation mode, with its weights.
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
    if family(model) is None and hasattr(model, 'decide'):
        from paperzoo.apis.sequences import SequencePredictor

        return SequencePredictor(
            model, cfg, precision=settings.get('precision', 'float32')
        )
    return Predictor(model, cfg, meta, **settings)
