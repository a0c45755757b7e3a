"""K-Net's page of several models: how masks and matching settle, or what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from paperzoo.explain.html.report import Figure, Matrix, Picture, Section, Table
from paperzoo.explain.knet.figures import cropped, losses_table, mosaic, painted
from paperzoo.explain.knet.page import (
    answer,
    kernel_name,
    look_at,
    object_boxes,
    overlaps,
    worth_a_look,
)
from paperzoo.explain.knet.trace import KNetView
from paperzoo.explain.sample import Sample
from paperzoo.explain.side_by_side import inside, together

NO_COST = float('nan')


@dataclass(frozen=True)
class Seen:
    """One model and the image.

    Attributes:
        sample: As the model gets it.
        view: What it does with it.
    """

    sample: Sample
    view: KNetView

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.sample.class_names


def look(model: Any, sample: Sample) -> Seen:
    """Return what a model does with the image.

    Args:
        model: A `KNet`, or a segmentor with a `KNetSemanticHead`, in evaluation mode.
        sample: The image.
    """
    view, sample = look_at(model, sample)
    return Seen(sample, view)


def sections(views: Mapping[str, Seen], unit: str) -> list[Section]:
    """Return the page.

    Args:
        views: By the names of the models, or the numbers of checkpoints.
        unit: What a slider through them is called; nothing for models side by side.
    """
    last = worth_a_look(list(views.values())[-1].view)
    # Kernel k of one training is the same one at each checkpoint; of another, another.
    orders = {
        name: last if unit else worth_a_look(seen.view) for name, seen in views.items()
    }
    found = [_masks(views, orders, unit)]
    if all(seen.view.detector for seen in views.values()):
        found += _matching(views, unit)
        found.append(_classes(views, orders, unit))
        if all(seen.view.panoptic is not None for seen in views.values()):
            found.append(_answers(views, unit))
    else:
        found.append(_class_maps(views, unit))
    if all(seen.view.losses for seen in views.values()):
        found.append(_losses(views, unit))
    return found


def _masks(
    views: Mapping[str, Seen], orders: Mapping[str, Sequence[int]], unit: str
) -> Section:
    def draw(name: str, place: int) -> list[Figure]:
        seen, order = views[name], list(orders[name])
        stage = seen.view.stages[place]
        # The kernels of semantic segmentation have no scores: they are the classes.
        names = [
            kernel_name(stage, k, seen.names) if seen.view.detector else seen.names[k]
            for k in order
        ]
        probs = cropped(stage.mask_probs[order], seen.sample)
        return [mosaic(seen.sample.image, probs, order, names)]

    named = {name: name for name in views}
    parts = [together(unit, named, partial(draw, place=place)) for place in (-1, 0)]
    fixed = (
        'The kernels are those that matter at the last checkpoint, always at the same '
        'place.'
        if unit
        else 'Kernels of two trainings have nothing to do with each other: each model '
        'shows those that matter to it.'
    )
    notes = dict.fromkeys(seen.view.redefined for seen in views.values())
    return Section(
        'What does each kernel see?',
        f'Each tile is one kernel, bright where its mask is. {fixed} Masks after the '
        'last stage, or those of the kernels as they are learnt, before any stage. '
        f'{" ".join(notes)}'.strip(),
        inside('kernels', ['after the last stage', 'as learnt'], parts),
        r'M = \sigma(K * F)',
        'knet "K-Net"',
    )


def _matching(views: Mapping[str, Seen], unit: str) -> list[Section]:
    """Return which kernel has which object, if all models are told the objects."""
    if not all(seen.view.pairs and seen.view.pairs[-1] for seen in views.values()):
        return []
    last = list(views.values())[-1]
    objects, marks = object_boxes(last.view, last.sample)
    held: dict[str, dict[int, int]] = {}
    costs = np.full((len(objects), len(views)), NO_COST)
    for column, (name, seen) in enumerate(views.items()):
        held[name] = {pair.item: pair.kernel for pair in seen.view.pairs[-1]}
        for pair in seen.view.pairs[-1]:
            costs[pair.item, column] = pair.cost
    rows: list[list[str | float]] = [
        [of, *(_kernel(held[name].get(item)) for name in views)]
        for item, of in enumerate(objects)
    ]
    said = ''
    if unit:
        moved = [
            sum(a.get(item) != b.get(item) for item in range(len(objects)))
            for a, b in pairwise(held.values())
        ]
        rows.append(['other kernel than before', '', *moved])
        said = (
            f' From one checkpoint to the next {moved[0]} of {len(objects)} objects '
            f'change their kernel at first, {moved[-1]} in the end.'
        )
    columns = ['object', *(f'{unit} {name}'.strip() for name in views)]
    section = Section(
        'Which kernel learns which object?',
        'The matching that teaches the last stage; nobody tells a kernel beforehand '
        f'which object it gets.{said} Below, what the pair costs: the lower, the '
        'better it fits.',
        [
            Picture(last.sample.image, 'The objects.', marks),
            Table(columns, rows),
            Matrix(costs, objects, columns[1:], 'cost of the chosen pair'),
        ],
        r's = \underset{s}{\mathrm{argmin}} \sum_j C_{s(j) j}',
        'knet "Training Instance Kernels"',
    )
    return [section]


def _kernel(number: int | None) -> str:
    return 'none' if number is None else f'kernel {number}'


def _classes(
    views: Mapping[str, Seen], orders: Mapping[str, Sequence[int]], unit: str
) -> Section:
    def draw(name: str) -> list[Figure]:
        seen, order = views[name], list(orders[name])
        stage = seen.view.stages[-1]
        assert stage.cls_score is not None  # a detector's last stage has classes
        assert stage.labels is not None
        probs = stage.cls_score[order].double().sigmoid().numpy().round(3)
        best = list(enumerate(stage.labels[order].tolist()))
        rows = [f'kernel {k}' for k in order]
        return [Matrix(probs, rows, seen.names, 'probability', best)]

    return Section(
        'Which class does each kernel say?',
        'After the last stage. A kernel that has no class with a high probability '
        'means no object.',
        together(unit, {name: name for name in views}, draw),
        r'p_i = \sigma(W f(K_i))',
        'knet "K-Net"',
    )


def _answers(views: Mapping[str, Seen], unit: str) -> Section:
    def draw(seen: Seen) -> list[Figure]:
        assert seen.view.panoptic is not None  # asked before
        return [answer(seen.view.panoptic, seen.sample)]

    return Section(
        'What is the answer?',
        'Things and stuff together, each pixel once.',
        together(unit, views, draw),
    )


def _class_maps(views: Mapping[str, Seen], unit: str) -> Section:
    best = {
        name: cropped(seen.view.stages[-1].mask_probs.argmax(0), seen.sample)
        for name, seen in views.items()
    }

    def draw(name: str) -> list[Figure]:
        seen = views[name]
        return [painted(seen.sample.image, best[name], seen.names)]

    figures = together(unit, {name: name for name in views}, draw)
    first = next(iter(views.values()))
    same = all(seen.names == first.names for seen in views.values())
    if same and 'gt_sem_seg' in first.sample.data_sample:
        named = {f'{unit} {name}'.strip(): one for name, one in best.items()}
        figures.append(overlaps(named, first.sample))
    return Section(
        'Which class kernel wins each pixel?',
        'For semantic segmentation each kernel belongs to one class, so nothing is '
        'matched: a pixel gets the class of the kernel with the highest value.',
        figures,
        r'y = \underset{k}{\mathrm{argmax}} \; K_k * F',
        'knet "K-Net"',
    )


def _losses(views: Mapping[str, Seen], unit: str) -> Section:
    def draw(seen: Seen) -> list[Figure]:
        return [losses_table(seen.view.losses)]

    return Section(
        'What does the image lose?',
        "The model's own losses of this image, stage by stage, with the network in "
        'evaluation mode.',
        together(unit, views, draw),
    )
