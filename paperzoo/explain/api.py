"""What `paperzoo explain` does, as a function."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from paperzoo.apis.build import build_model, default_device, load_weights
from paperzoo.apis.config import class_names, load_config
from paperzoo.apis.few_shot import FewShotPredictor, check_same_size, support_of
from paperzoo.apis.images import find_images, reason_of
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.explain.html.report import Section, Table
from paperzoo.explain.pages import ITEM_PAGES, SEQUENCES, page_of, sections
from paperzoo.explain.sample import SampleLoader
from paperzoo.utils.wording import some


@dataclass(frozen=True)
class Report:
    """A page, not yet drawn.

    Attributes:
        title: Of the page.
        sections: What it shows, from top to bottom.
    """

    title: str
    sections: list[Section]

    def save(self, path: str | Path) -> Path:
        """Write one HTML file, which replaces an earlier one; return its path."""
        # Imported when needed: TensorBoard's pictures do without.
        from paperzoo.explain.html.render import write_report

        return write_report(self.title, self.sections, Path(path))


def explain(
    model: nn.Module | Config | str | Path,
    images: str | Path | Sequence[str | Path] = (),
    *,
    items: Sequence[int] = (),
    support: Any = None,
    cfg: Config | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
    score_thr: float = 0.3,
    progress: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Report:
    """Return the report of what a model does with images, episodes or sequences.

    Args:
        model: A model, or the config of one: an object, a file or a bare name.
        images: Files, folders and globs. Images of the config's data sets come with
            their annotations; `data/...` follows `$PAPERZOO_DATA`, as in a config.
        items: Of a model of episodes or sequences: which of the test set; by default
            the first.
        support: Of a few-shot classifier: a folder with a folder of images for each
            class, or images by class name. Each of `images` is then a query.
        cfg: The config of a model that has none as its `cfg`.
        checkpoint: File, work dir or URL of the weights; without it, the model's own.
        device: Where a model is built; by default on the GPU, if there is one.
        score_thr: Predictions below it are left out.
        progress: Goes through what is explained beside a bar: gets it and its kind.

    Raises:
        UserError: If there is no config, the model has no page, it is given images
            although it is explained on items, or the other way round, or none of the
            images can be read.

    Example:
        >>> import paperzoo.explain
        >>> report = paperzoo.explain('attention_tagging', items=[0], device='cpu')
        >>> report.title, report.sections[0].title
        ('attention_tagging on sequence 0', 'What does the model say?')
    """
    if not isinstance(model, nn.Module):
        cfg = model if isinstance(model, Config) else load_config(model)
        model = build_model(cfg, device or default_device())
    # mmdet's and mmseg's `init_...` leave it there.
    cfg = cfg or getattr(model, 'cfg', None)
    if cfg is None:
        raise UserError(
            f'explain: a {type(model).__name__} does not know its config, which says '
            'how images are loaded: give cfg=load_config(...)'
        )
    meta = load_weights(model, checkpoint) if checkpoint else {}
    kind = 'items' if page_of(model) in ITEM_PAGES and support is None else 'images'
    if support is not None:
        given, load = query_loader(model, cfg, images, support, items=items)
    else:
        given, load = sample_loader(
            model, cfg, images, items=items, meta=meta, score_thr=score_thr
        )
    with evaluating(model):
        names, found = _explained(
            model, given, load, kind, progress(given, kind) if progress else given
        )
    stem = Path(cfg.filename).stem if cfg.filename else type(model).__name__
    return Report(f'{stem} on {some(names, 3)}', found)


def _explained(
    model: nn.Module,
    given: Sequence[Any],
    load: Callable[[Any], Any],
    kind: str,
    shown: Iterable[Any],
) -> tuple[list[str], list[Section]]:
    """Return the names of what could be explained, and all sections."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    first: Exception | None = None
    found: list[Section] = []
    for one in shown:
        # Whatever is wrong with one image, the others go on.
        try:
            sample = load(one)
            own = sections(model, sample)
        except Exception as error:
            if len(given) == 1:
                raise
            left_out[str(one)] = reason_of(error)
            first = first or error
            print(f'paperzoo: {one} is left out: {left_out[str(one)]}', file=sys.stderr)
            continue
        names.append(sample.name)
        if len(given) > 1:
            own = [replace(s, title=f'{sample.name}: {s.title}') for s in own]
        found += own
    if first and not names:
        raise UserError(
            f'none of {len(given)} {kind} can be explained, such as {given[0]}: '
            f'{reason_of(first)}'
        ) from first
    if left_out:
        found.append(_left_out(left_out, kind))
    return names, found


def _left_out(reasons: dict[str, str], kind: str) -> Section:
    table = Table(columns=[kind, 'reason'], rows=list(reasons.items()))
    text = 'They could not be read, or the model could not take them.'
    return Section(title=f'Which {kind} are left out?', text=text, figures=[table])


def sample_loader(
    model: nn.Module,
    cfg: Config,
    images: str | Path | Sequence[str | Path] = (),
    *,
    items: Sequence[int] = (),
    meta: dict | None = None,
    score_thr: float = 0.3,
) -> tuple[Sequence[Any], Callable[[Any], Any]]:
    """Return the files or numbers of the samples to explain, and what loads one.

    Args:
        model: The model.
        cfg: Its config.
        images: As of `explain`.
        items: As of `explain`.
        meta: Of the checkpoint, which may know names of classes.
        score_thr: Predictions below it are left out.

    Raises:
        UserError: If the model has no page, or is given images although it is
            explained on items, or the other way round.

    Example:
        >>> from paperzoo.apis.build import build_model
        >>> from paperzoo.apis.config import load_config
        >>> cfg = load_config('attention_tagging')
        >>> model = build_model(cfg, 'cpu')
        >>> numbers, load = sample_loader(model, cfg, items=[0])
        >>> numbers, load(0).name
        ([0], 'sequence 0')
    """
    name = type(model).__name__
    images = _several(images)
    if (page := page_of(model)) in ITEM_PAGES:
        if images:
            raise UserError(
                f"'{images[0]}': a {name} is explained on items of the config's test "
                'set, not on images; give their numbers (--item 0, or items=[0])'
                + ('' if page == SEQUENCES else ', or --support FOLDER with the images')
            )
        item = import_module(page).item
        return items or [0], lambda number: item(cfg, number)
    if items or not images:
        raise UserError(
            f'a {name} is explained on images; give one or more files (items are for '
            'models of episodes or sequences)'
        )
    # A set that paperzoo makes is named as in a config: data/shapes/val.
    files = [
        str(one) if Path(one).exists() else ensure_generated(str(one)) for one in images
    ]
    known = meta or {'dataset_meta': getattr(model, 'dataset_meta', None)}
    return find_images(files), SampleLoader(
        cfg, model, class_names(cfg, known), score_thr
    )


def query_loader(
    model: nn.Module,
    cfg: Config,
    images: str | Path | Sequence[str | Path],
    support: Any,
    *,
    items: Sequence[int] = (),
) -> tuple[Sequence[Any], Callable[[Any], Any]]:
    """Return the files of queries, and what makes an episode of one.

    Args:
        model: A few-shot classifier.
        cfg: Its config, whose test pipeline the images go through.
        images: As of `explain`.
        support: As of `explain`.
        items: Refused: they are of the test set.

    Raises:
        UserError: If the model is no few-shot classifier, there are no images, or an
            image of the support cannot be read.

    Example:
        >>> import numpy as np
        >>> from paperzoo.apis.build import build_model
        >>> from paperzoo.apis.config import load_config
        >>> from paperzoo.data.paths import ensure_generated
        >>> from paperzoo.explain.api import query_loader
        >>> cfg = load_config('protonet_tiny_glyphs')
        >>> model = build_model(cfg, 'cpu')
        >>> image = ensure_generated('data/shapes/val/000004.jpg')
        >>> grey, white = (np.full((240, 320, 3), v, np.uint8) for v in (99, 255))
        >>> files, load = query_loader(model, cfg, image, {'g': grey, 'w': white})
        >>> load(files[0]).data['query'].shape
        torch.Size([1, 3, 28, 37])
    """
    from paperzoo.explain.dmf.page import EpisodeSample

    if not hasattr(model, 'predict_from_feats'):
        raise UserError(
            f'a {type(model).__name__} learns its classes in a training: support '
            '(--support) is for few-shot classifiers'
        )
    if items or not images:
        raise UserError(
            'with a support (--support FOLDER) the queries are images: give one or '
            'more files, and no items of the test set'
        )
    pipeline = FewShotPredictor(model, cfg)
    given = support_of(support)
    pixels = [pipeline.inputs_of(one) for own in given.values() for one in own]
    check_same_size([tuple(one.shape[-2:]) for one in pixels])
    labels = [number for number, own in enumerate(given.values()) for _ in own]
    classes = {'support': torch.stack(pixels), 'support_label': torch.tensor(labels)}

    def load(file: Path) -> Any:
        query = pipeline.inputs_of(file)
        check_same_size([tuple(query.shape[-2:]), tuple(pixels[0].shape[-2:])])
        return EpisodeSample({**classes, 'query': query[None]}, tuple(given), file.name)

    return find_images([str(one) for one in _several(images)]), load


def _several(images: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [images] if isinstance(images, str | Path) else images


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each part back as it was.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(1).eval())
        >>> with evaluating(model):
        ...     model.training
        False
        >>> model.training, model[1].training
        (True, False)
    """
    training = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        # Part by part, for frozen norms stay in evaluation mode.
        for part, mode in training.items():
            part.training = mode
