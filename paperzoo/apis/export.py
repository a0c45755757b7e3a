"""Checkpoints as files that run without the training stack."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import (
    build_model,
    build_stored_model,
    family,
    load_weights,
    read_checkpoint,
)
from paperzoo.apis.config import dataset_config, load_config, type_name
from paperzoo.apis.config_errors import merge
from paperzoo.apis.export_arrays import export_arrays, versions
from paperzoo.apis.export_check import Comparison, compare, real_images
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.images import pixels_of
from paperzoo.apis.inference import Predictor
from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError, check_choice
from paperzoo.runtime.card import INTERPOLATIONS, Card
from paperzoo.runtime.sessions import open_session
from paperzoo.utils.files import refuse_unwritable

if TYPE_CHECKING:
    from mmengine.config import Config

_ENDINGS = {'onnx': '.onnx', 'torch': '.pt2', 'openvino': '.xml'}


def export(
    checkpoint: str | Path,
    file: str | Path,
    config: 'str | Path | Config | None' = None,
    *,
    format: str | None = None,  # noqa: A002
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    images: Sequence[str | Path] = (),
    cfg_options: Mapping[str, Any] | None = None,
) -> Comparison:
    """Write a checkpoint as a file with everything from pixels to results.

    At the end the file and the model look at the same images. If they differ by more
    than single precision explains, nothing is written.

    Args:
        checkpoint: File, work dir or URL.
        file: Where to write; an earlier file is replaced.
        config: A path or a bare name, or what `load_config` gives; by default the
            config that the checkpoint holds.
        format: `'onnx'`, `'torch'` (torch.export's `.pt2`) or `'openvino'` (`.xml` and
            `.bin`); by default as the file's name ends.
        size: Width and height into which images are resized; by default as the test
            pipeline does it.
        dynamic: The number and the size of images are free. Without it the file takes
            one image, and smaller ones are padded.
        images: Files to compare with; by default some of the config's test set, or
            patterns if there is none.
        cfg_options: Overrides by dotted key.

    Returns:
        What the comparison has found.

    Raises:
        UserError: If a package is missing (the message has the command), the model or
            its pipeline cannot be written down, free sides would be fixed, the file
            cannot be written, or its results are not the model's.

    Example:
        >>> import paperzoo
        >>> paperzoo.export('no_such.pth', 'model.txt')
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'model.txt' must end in .onnx, .pt2 or .xml, or ...
    """
    file = Path(os.path.expanduser(file))
    kind = _kind(file, format)
    refuse_unwritable(file)
    from paperzoo.deploy.formats import check_packages, publish, write

    check_packages(kind)
    model, cfg, meta = _model(checkpoint, config, cfg_options)
    if family(model) is None:
        return export_arrays(model, cfg, file, kind, dynamic)
    predictor = Predictor(model, cfg, meta, score=0.0)
    if size is not None:
        predictor = _with_scale(predictor, size)
    card = image_card(predictor, size, dynamic)
    example = card.scale if card.size is None else card.size
    from paperzoo.deploy.networks import image_graph

    graph = image_graph(predictor.model, example or (256, 256), card.divisor, dynamic)
    card = completed(card, graph.task, graph.module.settings)
    # Only what has been compared takes the place of an earlier file.
    with TemporaryDirectory() as folder:
        made = write(graph, card, Path(folder, file.name), kind)
        fixed = None if dynamic else card.scale
        shown, source = real_images(predictor.cfg, images, fixed)
        found = compare(predictor, opened(made, kind, card), shown, source)
        found.check(str(file))
        publish(Path(folder), file.parent)
    return found


def _model(
    checkpoint: str | Path, config: Any, cfg_options: Mapping[str, Any] | None
) -> tuple[Any, 'Config', dict[str, Any]]:
    """Return a checkpoint's model on the CPU, its config and its meta."""
    if config is None:
        from paperzoo.apis.stored_config import stored_config

        loaded = read_checkpoint(checkpoint)
        cfg = stored_config(loaded.get('meta') or {}, str(checkpoint))
        if cfg_options:
            merge(cfg, cfg_options)
        model = build_stored_model(cfg, 'cpu', str(checkpoint))
        return model, cfg, load_weights(model, checkpoint, loaded)
    cfg = config
    if isinstance(config, str | Path):
        cfg = load_config(config, cfg_options)
    elif cfg_options:
        cfg = config.copy()
        merge(cfg, cfg_options)
    check_stack(cfg.get('default_scope'))
    model = build_model(cfg, 'cpu')
    return model, cfg, load_weights(model, checkpoint)


def opened(file: Path, kind: str, card: Card) -> ExportedModel:
    """Return a file that this process has written, as a model that leaves nothing out.

    Args:
        file: The file.
        kind: Its format.
        card: What it says of itself.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.apis.export import opened
        >>> from paperzoo.runtime.card import Card
        >>> card = Card(task='detection', model='FCOS', classes=())
        >>> opened(Path('no_such.onnx'), 'onnx', card)
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'no_such.onnx': there is no such file
    """
    from paperzoo.deploy.formats import torch_session

    session = torch_session(file, card) if kind == 'torch' else open_session(file)
    return ExportedModel(session, pixels_of, score=0.0)


def _kind(file: Path, given: str | None) -> str:
    endings = {ending: kind for kind, ending in _ENDINGS.items()}
    if given is None:
        if file.suffix.lower() not in endings:
            raise UserError(
                f"'{file}' must end in .onnx, .pt2 or .xml, or its format be given"
            )
        return endings[file.suffix.lower()]
    check_choice('export', 'format', given, tuple(_ENDINGS))
    if file.suffix.lower() != _ENDINGS[given]:
        raise UserError(
            f"'{file}': a file of format {given} must end in {_ENDINGS[given]}"
        )
    return given


def _with_scale(predictor: Predictor, size: tuple[int, int]) -> Predictor:
    """Return a predictor whose pipeline resizes into another size."""
    if min(size) < 32:
        raise UserError(f'--size {size[0]} {size[1]}: both must be at least 32')
    cfg = predictor.cfg.copy()
    for step in _pipeline(cfg):
        if type_name(step['type']) == 'Resize':
            step['scale'] = size
    other = Predictor(predictor.model, cfg, {'classes': predictor.classes}, score=0.0)
    return other


def _pipeline(cfg: 'Config') -> list[Any]:
    return dataset_config(cfg, 'test').get('pipeline') or cfg.get('test_pipeline') or []


def image_card(
    predictor: Predictor, size: tuple[int, int] | None, dynamic: bool
) -> Card:
    """Return what a file says of itself, as far as the pipeline decides it.

    Args:
        predictor: The model with its pipeline.
        size: Given by the user, or None.
        dynamic: Whether number and size of images are free.

    Raises:
        UserError: If the pipeline does to images what a card has no words for, or no
            size is given for a file of a fixed size.

    Example:
        >>> import paperzoo
        >>> from paperzoo.apis.export import image_card
        >>> from paperzoo.apis.inference import Predictor
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = Predictor(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> card = image_card(model, None, dynamic=True)
        >>> card.scale, card.divisor, card.keep_ratio
        ((256, 192), 32, True)
    """
    cfg, model = predictor.cfg, predictor.model
    resize = _resize_step(predictor)
    scale: Any = size
    keep_ratio = True
    if resize is not None:
        scale, keep_ratio = tuple(map(int, resize.scale)), bool(resize.keep_ratio)
    if scale is None and not dynamic:
        raise UserError(
            f'{cfg.filename}: the test pipeline does not resize, so the size of the '
            'file is yours to say: --size WIDTH HEIGHT, or --dynamic'
        )
    divisor = _divisor(model)
    fixed = None
    if not dynamic and scale is not None:
        fixed = (_up(scale[0], divisor), _up(scale[1], divisor))
    pre = model.data_preprocessor
    normal = getattr(pre, '_enable_normalize', False)
    return Card(
        task='detection',
        model=type(model).__name__,
        classes=tuple(predictor.classes),
        palette=_palette(cfg, len(predictor.classes)),
        scale=scale,
        keep_ratio=keep_ratio,
        interpolation='bilinear' if resize is None else resize.interpolation,
        divisor=divisor,
        size=fixed,
        batch=None if dynamic else 1,
        mean=tuple(pre.mean.flatten().tolist()) if normal else (),
        std=tuple(pre.std.flatten().tolist()) if normal else (),
        versions=versions(),
    )


def completed(card: Card, task: str, settings: Mapping[str, Any]) -> Card:
    """Return a card that also says what the graph decides.

    Args:
        card: Of `image_card`.
        task: The graph's.
        settings: Its thresholds and numbers.

    Example:
        >>> from paperzoo.apis.export import completed
        >>> from paperzoo.runtime.card import Card
        >>> card = Card(task='detection', model='KNet', classes=())
        >>> completed(card, 'instance', {'mask_thr': 0.5}).settings
        {'mask_thr': 0.5}
    """
    return replace(card, task=task, settings=dict(settings))


def _resize_step(predictor: Predictor) -> Any:
    """Return the pipeline's only step between reading and packing, or None."""
    from mmcv.transforms import LoadImageFromFile, Resize

    steps = predictor.pipeline.transforms
    between = steps[1:-1]
    first = steps[0]
    plain = (
        isinstance(first, LoadImageFromFile)
        and first.color_type == 'color'
        and not first.to_float32
        and type(steps[-1]).__name__ in ('PackDetInputs', 'PackSegInputs')
        and len(between) <= 1
        and all(
            isinstance(one, Resize)
            and type(one).__name__ == 'Resize'
            and one.scale is not None
            and one.backend == 'cv2'
            and one.interpolation in INTERPOLATIONS
            for one in between
        )
    )
    if not plain:
        names = ', '.join(type(one).__name__ for one in steps)
        raise UserError(
            f'{predictor.cfg.filename}: the test pipeline is {names}; what can be '
            'exported is LoadImageFromFile, Resize with a scale (or none), and '
            'PackDetInputs or PackSegInputs'
        )
    return between[0] if between else None


def _divisor(model: Any) -> int:
    pre = model.data_preprocessor
    if family(model) == 'mmdet':
        return max(1, int(pre.pad_size_divisor))
    options = pre.test_cfg or {}
    if options.get('size') is not None:
        raise UserError(
            'data_preprocessor.test_cfg.size pads all images to one size, which cannot '
            'be exported: --cfg-options model.data_preprocessor.test_cfg=None'
        )
    return max(1, int(options.get('size_divisor') or 1))


def _up(side: int, divisor: int) -> int:
    return -(-side // divisor) * divisor


def _palette(cfg: 'Config', count: int) -> tuple[tuple[int, int, int], ...]:
    """Return the colours of the classes in overlays, as red, green, blue."""
    from paperzoo.visualization.overlays import color_of

    found = []
    for label in range(count):
        blue, green, red = color_of(label)
        found.append((red, green, blue))
    return tuple(found)
