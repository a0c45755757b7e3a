"""Several models on the same sample: checkpoints of a training, or side by side."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import nn

from paperzoo.apis.build import (
    build_model,
    default_device,
    load_weights,
    read_checkpoint,
)
from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.explain.api import Report, evaluating, sample_loader
from paperzoo.explain.html.report import Section
from paperzoo.explain.pages import ITEM_PAGES, SEVERAL, page_of
from paperzoo.utils.wording import some
from paperzoo.utils.work_dirs import checkpoints_in

# Checkpoints: more would make the page heavy and the slider no clearer.
MOST = 12


def explain_history(
    work_dir: str | Path,
    images: str | Path | Sequence[str | Path] = (),
    *,
    items: Sequence[int] = (),
    cfg: Config | str | Path | None = None,
    device: str | None = None,
    score_thr: float = 0.3,
    progress: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Report:
    """Return the report of how a training settled: a slider through its checkpoints.

    Of many checkpoints twelve are shown, evenly spread, the first and the last among
    them.

    Args:
        work_dir: Of the training, with checkpoints such as `epoch_1.pth`.
        images: As of `explain`.
        items: As of `explain`: which episodes.
        cfg: The training's config; by default its copy in the work dir, which is run as
            any config is.
        device: Where the model is built; by default on the GPU, if there is one.
        score_thr: Predictions below it are left out.
        progress: Goes through the checkpoints beside a bar: gets them and their kind.

    Raises:
        UserError: If there are less than two numbered checkpoints, no config beside
            them, a checkpoint is of another model, the model's page shows one model
            only, or the images cannot be read.

    Example:
        >>> import paperzoo.explain, tempfile
        >>> try:
        ...     paperzoo.explain.explain_history(tempfile.mkdtemp(), 'a.jpg')
        ... except UserError as error:
        ...     print(str(error).partition(',')[0].partition("' ")[2])
        holds 0 numbered checkpoints (epoch_1.pth
    """
    unit, files = checkpoints_in(work_dir)
    chosen = np.linspace(0, len(files) - 1, min(len(files), MOST)).round().astype(int)
    numbers = [list(files)[place] for place in chosen]
    config = cfg if isinstance(cfg, Config) else load_config(cfg or config_in(work_dir))
    model = build_model(config, device or default_device())
    page = _several(model)
    last = load_weights(model, files[numbers[-1]])
    given, load = sample_loader(
        model, config, images, items=items, meta=last, score_thr=score_thr
    )
    samples = [load(one) for one in given]
    views: dict[str, dict[str, Any]] = defaultdict(dict)
    with evaluating(model):
        for number in progress(numbers, 'checkpoints') if progress else numbers:
            load_weights(model, files[number])
            for sample in samples:
                views[sample.name][str(number)] = page.look(model, sample)
    stem = Path(config.filename).stem if config.filename else type(model).__name__
    more = f' of {len(files)}' if len(numbers) < len(files) else ''
    title = f'{stem} on {some(list(views), 3)}, {len(numbers)}{more} {unit}s'
    return Report(title, _sections(page, views, unit))


def explain_beside(
    models: Sequence[tuple[Config | str | Path, str | None]],
    images: str | Path | Sequence[str | Path] = (),
    *,
    items: Sequence[int] = (),
    device: str | None = None,
    score_thr: float = 0.3,
) -> Report:
    """Return the report of the same images or episodes in several models.

    Args:
        models: Configs, each with the file, work dir or URL of its weights, or None.
            Episodes are those of the first config's test set; each model resizes and
            normalises images as its own config says.
        images: As of `explain`, of detectors and segmentors.
        items: Of few-shot classifiers: which episodes; by default the first.
        device: Where models are built; by default on the GPU, if there is one.
        score_thr: Predictions below it are left out.

    Raises:
        UserError: If the models do not have one kind of page, the first config has no
            episodes, the images cannot be read, or weights are of another model.

    Example:
        >>> from paperzoo.explain import explain_beside
        >>> try:
        ...     explain_beside([('attention_tagging', None)], device='cpu')
        ... except UserError as error:
        ...     print(str(error).partition(',')[0])
        a SequenceTagger cannot be shown beside others
    """
    cfgs = [cfg if isinstance(cfg, Config) else load_config(cfg) for cfg, _ in models]
    built: dict[str, tuple[Any, Config, dict]] = {}
    pages = {}
    stems = [Path(cfg.filename).stem if cfg.filename else '' for cfg in cfgs]
    for cfg, stem, (_, checkpoint) in zip(cfgs, stems, models, strict=True):
        model = build_model(cfg, device or default_device()).eval()
        name = stem or type(model).__name__
        if stems.count(stem) > 1 and checkpoint:
            name = f'{name}, {Path(checkpoint).stem}'
        name = name if name not in built else f'{name}, {len(built) + 1}'
        pages[name] = _several(model)
        built[name] = model, cfg, load_weights(model, checkpoint) if checkpoint else {}
    first = next(iter(pages))
    for name, page in pages.items():
        if page is not pages[first]:
            raise UserError(
                f'{first} and {name} have no page in common: put models of one paper '
                'beside each other, or few-shot classifiers'
            )
    if page_of(built[first][0]) in ITEM_PAGES:
        return _episodes(built, images, items)
    views: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, (model, cfg, meta) in built.items():
        given, load = sample_loader(
            model, cfg, images, items=items, meta=meta, score_thr=score_thr
        )
        for one in given:
            sample = load(one)
            views[sample.name][name] = pages[name].look(model, sample)
    title = f'{", ".join(built)} on {some(list(views), 3)}'
    return Report(title, _sections(pages[first], views, ''))


def _episodes(
    built: dict[str, tuple[Any, Config, dict]],
    images: str | Path | Sequence[str | Path],
    items: Sequence[int],
) -> Report:
    """Return the report of few-shot classifiers, which have a page of their own."""
    from paperzoo.explain.few_shot.page import beside, item

    model, cfg, _ = next(iter(built.values()))
    numbers, _ = sample_loader(model, cfg, images, items=items)
    models = {name: model for name, (model, _, _) in built.items()}
    found: list[Section] = []
    for number in numbers:
        own = beside(models, item(cfg, number))
        if len(numbers) > 1:
            own = [replace(s, title=f'episode {number}: {s.title}') for s in own]
        found += own
    listed = ', '.join(map(str, numbers))
    return Report(f'{", ".join(built)} on episode {listed}', found)


def _several(model: nn.Module) -> ModuleType:
    """Return what draws several models of this one's kind."""
    page = SEVERAL.get(page_of(model))
    if page is None:
        raise UserError(
            f'a {type(model).__name__} cannot be shown beside others, nor its history: '
            'that is for detectors with an FCOSHead, K-Nets, and few-shot classifiers '
            'such as DMFClassifier'
        )
    return import_module(page)


def _sections(
    page: ModuleType, views: dict[str, dict[str, Any]], unit: str
) -> list[Section]:
    found: list[Section] = []
    for name, own in views.items():
        drawn = page.sections(own, unit)
        if len(views) > 1:
            drawn = [replace(one, title=f'{name}: {one.title}') for one in drawn]
        found += drawn
    return found


def config_in(work_dir: str | Path) -> Path:
    """Return the config that a training has left in its work dir.

    Args:
        work_dir: With checkpoints, as of `explain_history`.

    Raises:
        UserError: If it holds less than two checkpoints, or several configs (or none)
            of which none is known to be the training's.

    Example:
        >>> import pathlib, tempfile, torch
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for epoch in (1, 2):
        ...     torch.save({'w': torch.ones(1)}, root / f'epoch_{epoch}.pth')
        >>> _ = (root / 'mine.py').write_text('')
        >>> config_in(root).name
        'mine.py'
    """
    _, checkpoints = checkpoints_in(work_dir)
    files = {file.stem: file for file in sorted(Path(work_dir).glob('*.py'))}
    if len(files) == 1:
        return next(iter(files.values()))
    # MMEngine names an experiment after its config and the time. The checkpoint only
    # chooses among these files, for the one it names is run.
    meta = read_checkpoint(list(checkpoints.values())[-1]).get('meta') or {}
    name = str(meta.get('experiment_name', '')).rpartition('_')[0].rpartition('_')[0]
    if name in files:
        return files[name]
    raise UserError(
        f"'{work_dir}' holds {len(files)} configs, so it is not known which one the "
        'training had: give it (in Python as cfg=FILE)'
    )
