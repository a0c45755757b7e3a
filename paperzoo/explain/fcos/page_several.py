"""FCOS's page of several models: how a training settles, or what differs in another."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from paperzoo.explain.fcos.page import (
    QUALITY_NAMES,
    box_marks,
    level_names,
    object_marks,
    point_texts,
)
from paperzoo.explain.fcos.trace import FCOSExplanation, Truth, explain
from paperzoo.explain.html.report import (
    Figure,
    HeatMap,
    Picture,
    Row,
    Section,
    Table,
)
from paperzoo.explain.marks import padded, point_marks
from paperzoo.explain.sample import Sample
from paperzoo.explain.side_by_side import inside, together
from paperzoo.fcos.head import FCOSHead


@dataclass(frozen=True)
class Seen:
    """One model and the image.

    Attributes:
        sample: As the model gets it.
        found: What it does with it.
        levels: Names of its levels.
        strides: Of its levels, (x, y).
        quality: What the third branch predicts.
    """

    sample: Sample
    found: FCOSExplanation
    levels: list[str]
    strides: list[tuple[float, float]]
    quality: str


def look(model: Any, sample: Sample) -> Seen:
    """Return what a model does with the image.

    Args:
        model: A detector with an FCOSHead, in evaluation mode.
        sample: The image.
    """
    head: FCOSHead = model.bbox_head
    found = explain(model, sample)
    strides = [(float(x), float(y)) for x, y in head.stride_pairs]
    quality = QUALITY_NAMES[head.box_quality]
    return Seen(sample, found, level_names(head), strides, quality)


def sections(views: Mapping[str, Seen], unit: str) -> list[Section]:
    """Return the page.

    Args:
        views: By the names of the models, or the numbers of checkpoints.
        unit: What a slider through them is called; nothing for models side by side.
    """
    found = [_detections(views, unit)]
    truths = {
        name: view.found.truth
        for name, view in views.items()
        if view.found.truth is not None and len(view.found.truth.boxes)
    }
    if len(truths) == len(views):
        found.append(_points(views, truths, unit))
    found.append(_maps(views, unit))
    if len(truths) == len(views):
        found.append(_losses(truths, unit))
    return found


def _shown(view: Seen) -> list[Figure]:
    boxes = view.found.predictions
    values = boxes.bboxes, boxes.scores, boxes.labels
    marks = box_marks(view.sample, *values, [''] * len(boxes))
    caption = f'{len(marks)} detections, {view.sample.score_thr:g} and better'
    return [Picture(view.sample.image, caption, marks)]


def _detections(views: Mapping[str, Seen], unit: str) -> Section:
    last = list(views.values())[-1]
    rows: list[list[str | float]] = []
    for name, view in views.items():
        scores = view.found.predictions.scores
        best = round(float(scores.max()), 3) if len(scores) else '-'
        shown = int((scores >= view.sample.score_thr).sum())
        rows.append([name, shown, best])
    columns = [unit or 'model', f'{last.sample.score_thr:g} and better', 'best score']
    figures = together(unit, views, _shown)
    if last.found.truth is not None:
        marks = object_marks(last.sample, last.found.truth)
        truth = Picture(last.sample.image, 'The annotated objects.', marks)
        figures = [Row([*figures, truth])] if unit else [*figures, truth]
    notes = dict.fromkeys(view.found.redefined for view in views.values())
    return Section(
        f'What is found in {last.sample.name}',
        f'The detections of each {"checkpoint" if unit else "model"}; colours are '
        f'classes. {" ".join(notes)}'.strip(),
        [*figures, Table(columns, rows)],
    )


def _points(
    views: Mapping[str, Seen], truths: Mapping[str, Truth], unit: str
) -> Section:
    first, *others = truths.values()
    last = list(views.values())[-1]
    same = all(torch.equal(first.owners, other.owners) for other in others)
    said = (
        f'The same {"at every checkpoint" if unit else "in every model"}: the boxes '
        'and the ranges of the levels decide which point learns which box, not what '
        'the model predicts. Nothing has to settle, unlike in a matching.'
        if same
        else 'What each point of all levels learns, in the colour of its box: not the '
        f'same {"at every checkpoint" if unit else "in every model"}.'
    )
    figures = _learned(last) if same else together(unit, views, _learned)
    return Section(
        'Which points learn which box?',
        said,
        figures,
        r'l^* = x - x_0,\quad t^* = y - y_0,\quad r^* = x_1 - x,\quad b^* = y_1 - y',
        'fcos Eq. 1',
    )


def _learned(view: Seen) -> list[Figure]:
    truth, points = view.found.truth, view.found.maps.points
    assert truth is not None  # there is no section without
    texts = point_texts(view.sample, points, truth, truth.owners, truth.ltrb)
    marks = point_marks(points, truth.owners, texts, negatives=False)
    caption = f'{int((truth.owners > 0).sum())} points have an object'
    boxes = object_marks(view.sample, truth)
    return [Picture(view.sample.image, caption, boxes + marks)]


def _maps(views: Mapping[str, Seen], unit: str) -> Section:
    """Show the third branch and the class scores, level by level."""
    names = [
        name
        for name in next(iter(views.values())).levels
        if all(name in view.levels for view in views.values())
    ]

    def draw(view: Seen, name: str) -> list[Figure]:
        level, maps = view.levels.index(name), view.found.maps
        (down, across), stride = maps.sizes[level], view.strides[level]
        size = round(down * stride[1]), round(across * stride[0])
        ground = padded(view.sample.image, *size)
        shown = {
            f'predicted {view.quality}': maps.quality,
            'class score': maps.scores.amax(dim=1),
        }
        return [
            HeatMap(maps.levels(values)[level].cpu().numpy(), what, ground, 0.0, 1.0)
            for what, values in shown.items()
        ]

    parts = [together(unit, views, partial(draw, name=name)) for name in names]
    return Section(
        'Where does it expect objects, and good boxes?',
        'What the third branch predicts, and the class score, which are multiplied. '
        'Choose a level first. All maps have one scale, from 0 to 1.',
        inside('level', names, parts),
    )


def _losses(truths: Mapping[str, Truth], unit: str) -> Section:
    terms = list(
        dict.fromkeys(term for truth in truths.values() for term in truth.losses.terms)
    )
    rows = []
    for name, truth in truths.items():
        losses = truth.losses
        known = [losses.terms.get(term) for term in terms]
        values = ['' if one is None else float(one.sum()) for one in known]
        rows.append([name, *values, sum(losses.rest.values()), losses.total])
    return Section(
        'What does the image lose?',
        "The model's own losses of this image, with the network in evaluation mode.",
        [Table([unit or 'model', *terms, 'other losses', 'all'], rows)],
    )
