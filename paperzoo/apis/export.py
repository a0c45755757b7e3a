"""Checkpoints as files that run without the training stack."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import image_pipeline, type_name
from paperzoo.apis.export_arrays import Way, export_arrays, versions
from paperzoo.apis.export_check import Comparison, compare, real_images
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.inference import Predictor, loaded_model, pipeline_explained
from paperzoo.errors import UserError, check_choice
from paperzoo.runtime.card import FORMATS, INTERPOLATIONS, Card
from paperzoo.runtime.images import padded_side
from paperzoo.utils.families import family
from paperzoo.utils.files import refuse_unwritable

if TYPE_CHECKING:
    from mmengine.config import Config


def export(
    checkpoint: str | Path,
    file: str | Path,
    config: 'str | Path | Config | None' = None,
    *,
    format: str | None = None,  # noqa: A002
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    compiled: bool = False,
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
        compiled: Of format torch: write machine code for this processor (AOTInductor),
            which needs a C++ compiler here and runs only where the processor is alike.
            Whoever loads such a file runs the code in it.
        images: Files to compare with; by default some of the config's test set, or
            patterns if there is none; the config in a checkpoint has none.
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
    from paperzoo.deploy.formats import (
        check_compiler,
        check_packages,
        publish,
        session_of,
        write,
    )

    check_packages(kind)
    if compiled:
        if kind != 'torch':
            raise UserError(f"'{file}': only format torch (.pt2) is compiled")
        check_compiler()
    model, cfg, meta = loaded_model(checkpoint, config, cfg_options, 'cpu')
    if family(model) is None:
        if config is None:
            raise UserError(
                f"'{checkpoint}': a {type(model).__name__} is compared on its config's "
                'test set, which a checkpoint does not hold: give config=...'
            )
        return export_arrays(model, cfg, file, Way(kind, dynamic, compiled))
    if size is not None:
        cfg = _with_scale(cfg, size)
    with pipeline_explained(cfg, checkpoint if config is None else None):
        predictor = Predictor(model, cfg, meta, score=0.0)
    card = image_card(predictor, size, dynamic)
    example = card.scale if card.size is None else card.size
    from paperzoo.deploy.networks import image_graph

    graph = image_graph(predictor.model, example or (256, 256), card.divisor, dynamic)
    card = replace(card, task=graph.task, settings=graph.module.settings)
    # Only what has been compared takes the place of an earlier file.
    with TemporaryDirectory() as folder:
        target = Path(folder, file.name)
        made = write(graph, card, target, kind, compiled=compiled)
        fixed = None if dynamic else card.scale
        shown, source = real_images(predictor.cfg, images, fixed)
        session = session_of(made, kind, card, compiled=compiled)
        written = ExportedModel(session, score=0.0)
        found = compare(predictor, written, shown, source)
        found.check(str(file))
        publish(Path(folder), file.parent)
    return found


def _kind(file: Path, given: str | None) -> str:
    endings = {ending: kind for kind, ending in FORMATS.items()}
    if given is None:
        if file.suffix.lower() not in endings:
            raise UserError(
                f"'{file}' must end in .onnx, .pt2 or .xml, or its format be given"
            )
        return endings[file.suffix.lower()]
    check_choice('export', 'format', given, tuple(FORMATS))
    if file.suffix.lower() != FORMATS[given]:
        raise UserError(
            f"'{file}': a file of format {given} must end in {FORMATS[given]}"
        )
    return given


def _with_scale(cfg: 'Config', size: tuple[int, int]) -> 'Config':
    """Return a config whose test pipeline resizes into another size."""
    if min(size) < 32:
        raise UserError(f'--size {size[0]} {size[1]}: both must be at least 32')
    cfg = deepcopy(cfg)  # a copy would share its pipeline
    for step in image_pipeline(cfg):
        if type_name(step['type']) == 'Resize':
            step['scale'] = size
    return cfg


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
        fixed = (padded_side(scale[0], divisor), padded_side(scale[1], divisor))
    pre = model.data_preprocessor
    normal = getattr(pre, '_enable_normalize', False)
    return Card(
        task='detection',
        model=type(model).__name__,
        classes=tuple(predictor.classes),
        palette=tuple(predictor.palette or ()),
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
