"""K-Net's page: masks by stage, the matching, gates, attention, who won which pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.explain.html.report import (
    Bars,
    Figure,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.knet.figures import (
    cropped,
    losses_table,
    mosaic,
    painted,
)
from paperzoo.explain.knet.trace import (
    NO_KERNEL,
    KNetView,
    Pair,
    StageView,
    explain_detector,
    explain_semantic,
)
from paperzoo.explain.marks import box_mark, class_name, colour
from paperzoo.explain.sample import Sample
from paperzoo.knet.panoptic import boxes_around
from paperzoo.utils.masks import INSTANCE_OFFSET

if TYPE_CHECKING:  # Semantic segmentation does without mmdet, which it needs.
    from paperzoo.knet.assigner import Assignment

# Kernels; more would neither fit on a screen nor help.
SHOWN = 20
TERMS = {
    'cls_cost': 'class',
    'mask_cost': 'mask, per pixel',
    'dice_cost': 'mask, dice',
    'boundary_cost': 'boundary',
}
REMOVED = {
    '': 'a segment',
    'low score': 'given up: its score is low',
    'no pixel': 'given up: it has no pixel',
    'overlapped': 'given up: too little of its mask is left',
}


def sections(model: Any, sample: Sample) -> list[Section]:
    """Return the page of one image.

    Args:
        model: A `KNet`, or a segmentor with a `KNetSemanticHead`, in evaluation mode.
        sample: The image.
    """
    view, sample = look_at(model, sample)
    first, *rest = (_detector if view.detector else _semantic)(view, sample)
    text = f'{first.text} {view.redefined}'.strip()
    return [replace(first, text=text), *rest]


def look_at(model: Any, sample: Sample) -> tuple[KNetView, Sample]:
    """Return what the model does with the image, and the sample with all class names.

    Args:
        model: As of `sections`.
        sample: The image.
    """
    detector = hasattr(model, 'kernel_iter_head')
    head = model.kernel_init_head if detector else model.decode_head
    # A checkpoint may know fewer names than classes.
    names = tuple(class_name(sample, label) for label in range(head.num_classes))
    explain = explain_detector if detector else explain_semantic
    view = explain(model, sample.inputs, sample.data_sample)
    return view, replace(sample, class_names=names)


def worth_a_look(view: KNetView) -> list[int]:
    """Return kernels: those with an object, then those of the highest score.

    Those of semantic segmentation have no score: the largest masks come first.

    Args:
        view: Of `look_at`.
    """
    chosen = [pair.kernel for pair in view.pairs[-1]] if view.pairs else []
    scores = view.stages[-1].scores
    if scores is None:
        scores = view.stages[-1].mask_probs.sum((1, 2))
    by_score = scores.argsort(descending=True).tolist()
    return list(dict.fromkeys(chosen + by_score))[:SHOWN]


def _detector(view: KNetView, sample: Sample) -> list[Section]:
    order = worth_a_look(view)
    names = [kernel_name(view.stages[-1], k, sample.class_names) for k in order]
    found = [_masks(view, sample, order, names), _classes(view, sample, order)]
    if view.panoptic is not None:
        found.append(_segments(view, sample))
    if view.losses:
        found += _matching(view, sample)
    return found + _updates(view, order, names)


def stage_names(view: KNetView) -> list[str]:
    """Return what the kernels before and after each stage are called."""
    return ['as learnt', *(f'after stage {i}' for i in range(1, len(view.stages)))]


def _semantic(view: KNetView, sample: Sample) -> list[Section]:
    order = worth_a_look(view)
    names = [sample.class_names[k] for k in order]
    found = [_masks(view, sample, order, names), _class_maps(view, sample)]
    if view.losses:
        found.append(
            Section(
                'What does each stage lose?',
                'Every stage answers for its masks, with the same loss; the first row '
                'is the head whose class weights are the first kernels.',
                [losses_table(view.losses)],
            )
        )
    return found + _updates(view, order, names)


def kernel_name(stage: StageView, kernel: int, classes: tuple[str, ...]) -> str:
    """Return a kernel's number, with its class and score after a stage."""
    if stage.scores is None or stage.labels is None:
        return f'kernel {kernel}'
    label, score = int(stage.labels[kernel]), float(stage.scores[kernel])
    return f'kernel {kernel}: {classes[label]} {score:.2f}'


def _masks(
    view: KNetView, sample: Sample, order: list[int], names: list[str]
) -> Section:
    total = len(view.stages[0].mask_probs)
    # The kernels of semantic segmentation have no scores: they are the classes.
    classes = view.stages[-1].cls_score is not None
    tiles, maps = [], []
    for stage in view.stages:
        probs, hover = cropped(stage.mask_probs[order], sample), names
        if classes:
            hover = [kernel_name(stage, k, sample.class_names) for k in order]
        tiles.append(mosaic(sample.image, probs, order, hover))
        first = zip(probs[:4], names, strict=False)
        maps.append(
            Row([HeatMap(prob, name, sample.image, 0.0, 1.0) for prob, name in first])
        )
    rule = 'those with an object, then the most certain' if classes else 'the largest'
    left = f' ({SHOWN} of {total}: {rule})' if total > SHOWN else ''
    return Section(
        'What does each kernel see, and what do the stages change?',
        'A kernel is convolved with the features, and the result is its mask. Each '
        f'tile is one kernel{left}: bright where its mask is. Stages go on from the '
        'kernels that the training has learnt, which are the same for all images.',
        [
            Slider('stage', stage_names(view), tiles),
            Slider('stage', stage_names(view), maps),
        ],
        r'M = \sigma(K * F)' if classes else r'M = \mathrm{softmax}_k (K_k * F)',
        'knet "K-Net"',
    )


def _classes(view: KNetView, sample: Sample, order: list[int]) -> Section:
    frames, labels = [], []
    for name, stage in zip(stage_names(view), view.stages, strict=True):
        if stage.cls_score is not None and stage.labels is not None:
            probs = stage.cls_score[order].double().sigmoid().numpy().round(3)
            best = list(enumerate(stage.labels[order].tolist()))
            rows = [f'kernel {k}' for k in order]
            frames.append(Matrix(probs, rows, sample.class_names, 'probability', best))
            labels.append(name)
    return Section(
        'Who says the class, and who says the mask?',
        'Both come from the same kernel: one small network makes the convolution '
        'kernel from it, another one its class. No thing kernel is bound to a class; '
        'one that has no class with a high probability means no object.',
        [Slider('stage', labels, frames)],
        r'p_i = \sigma(W f(K_i)), \quad M_i = \sigma(g(K_i) * F)',
        'knet "K-Net"',
    )


def _class_maps(view: KNetView, sample: Sample) -> Section:
    frames: list[Figure] = []
    for stage in view.stages:
        best = cropped(stage.mask_probs.argmax(0), sample)
        frames.append(painted(sample.image, best, sample.class_names))
    figures: list[Figure] = [Slider('stage', stage_names(view), frames)]
    if 'gt_sem_seg' in sample.data_sample:
        names = stage_names(view)
        maps = [cropped(stage.mask_probs.argmax(0), sample) for stage in view.stages]
        figures.append(overlaps(dict(zip(names, maps, strict=True)), sample))
    return Section(
        'Which class kernel wins each pixel?',
        'For semantic segmentation each kernel belongs to one class, so nothing is '
        'matched: a pixel gets the class of the kernel with the highest value.',
        figures,
        r'y = \underset{k}{\mathrm{argmax}} \; K_k * F',
        'knet "K-Net"',
    )


def overlaps(maps: Mapping[str, NDArray], sample: Sample) -> Matrix:
    """Return each class's intersection over union in each of several maps of classes.

    Args:
        maps: By the names of the columns, (h, w) without padding.
        sample: With the truth.
    """
    height, width = sample.image.shape[:2]
    truth = sample.data_sample.gt_sem_seg.data[0, :height, :width].cpu().numpy()
    known = truth < len(sample.class_names)  # what is not annotated is left out
    present = np.unique(truth[known])
    values = np.zeros((len(present), len(maps)))
    for column, best in enumerate(maps.values()):
        size = (width, height)
        large = cv2.resize(best.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
        for row, label in enumerate(present):
            found, there = (large == label) & known, truth == label
            values[row, column] = (found & there).sum() / (found | there).sum()
    names = [sample.class_names[label] for label in present]
    what = 'intersection over union on this image, of masks before they are enlarged'
    return Matrix(values, names, list(maps), what)


def _matching(view: KNetView, sample: Sample) -> list[Section]:
    """Return which kernel learns which object, why, and what that costs."""
    losses = Section(
        'What does each stage lose?',
        'Every stage answers for its own masks and classes, with the objects that the '
        'matching gave to its kernels. Kernels without an object learn only to be no '
        'class.',
        [losses_table(view.losses)],
        r'L = \lambda_{cls} L_{cls} + \lambda_{ce} L_{ce} + \lambda_{dice} L_{dice}',
        'knet "Training Instance Kernels"',
    )
    if not view.assignments or not len(view.assignments[0].matching.gt_instances):
        return [losses]
    names, marks = object_boxes(view, sample)
    objects = 'The objects; point at a box for its number.'
    costs: dict[str, Figure] = {}
    reasons: dict[str, Figure] = {}
    for made, pairs in zip(view.assignments, view.pairs, strict=True):
        place = made.matching.place.partition(',')[0]
        stage = place.partition('stage ')[2]
        stop = f'teaches stage {int(stage) + 1}' if stage else f'teaches the {place}'
        reasons[stop] = _reasons(made, pairs, names)
        for what, matrix in _costs(made, pairs, names).items():
            costs[f'{stop}: {what}'] = matrix
    figures: list[Figure] = [
        Picture(sample.image, objects, marks),
        Slider('matching', list(costs), list(costs.values())),
    ]
    return [
        Section(
            'What is matched with what?',
            'Rows are kernels, columns the objects of the image. Each object gets one '
            'kernel, so that the framed costs add up to the smallest sum there is; it '
            'takes no order of the objects, no threshold and no boxes. Matched '
            'kernels stand first; the slider shows the sum, then its terms. The '
            'better a mask agrees, the further its cost lies below zero. Before the '
            'first stage there are no classes to compare.',
            figures,
            r's = \underset{s}{\mathrm{argmin}} \sum_j C_{s(j) j}, \quad '
            r'C = C_{cls} + C_{ce} + C_{dice}',
            'knet "Training Instance Kernels"',
        ),
        Section(
            'Why did this kernel get this object?',
            'The next best is the cheapest other kernel for the object. What counts is '
            'the last column: how much more all pairs together would cost if this pair '
            'were forbidden. A pair with a small number there may be another one in '
            'the next iteration of the training.',
            [Slider('matching', list(reasons), list(reasons.values()))],
        ),
        losses,
    ]


def object_boxes(view: KNetView, sample: Sample) -> tuple[list[str], list[Mark]]:
    """Return the names of the objects that are matched, and their boxes."""
    truth = view.assignments[0].matching.gt_instances
    names = [
        f'{number}: {sample.class_names[label]}'
        for number, label in enumerate(truth.labels.tolist())
    ]
    boxes = boxes_around(truth.masks.cpu() > 0)
    boxes *= sample.inputs.size(-1) / truth.masks.size(-1)
    marks = [
        box_mark(box, colour(number), name)
        for number, (box, name) in enumerate(zip(boxes, names, strict=True))
        if box.any()
    ]
    return names, marks


def _costs(
    made: 'Assignment', pairs: Sequence[Pair], names: Sequence[str]
) -> dict[str, Matrix]:
    """Return the cost of each pair, then its terms; matched kernels first."""
    chosen = [pair.kernel for pair in pairs]
    by_cost = made.cost.amin(1).argsort().tolist()
    order = list(dict.fromkeys(chosen + by_cost))[: max(SHOWN, len(chosen))]
    marked = [(order.index(pair.kernel), pair.item) for pair in pairs]
    rows = [f'kernel {kernel}' for kernel in order]
    parts = {'the sum': made.cost}
    parts |= {TERMS.get(name, name): term for name, term in made.terms.items()}
    return {
        what: Matrix(part[order].double().numpy(), rows, names, marked=marked)
        for what, part in parts.items()
    }


def _reasons(made: 'Assignment', pairs: Sequence[Pair], names: Sequence[str]) -> Table:
    def name(kernel: int) -> str:
        if kernel == NO_KERNEL:
            return 'none'
        held = int(made.gt_inds[kernel])
        return f'kernel {kernel}' + (f' (has object {held - 1})' if held else '')

    rows = [
        [
            *(names[pair.item], f'kernel {pair.kernel}', f'{pair.cost:.3f}'),
            *(name(pair.next_best), f'{pair.next_cost:.3f}'),
            *(name(pair.substitute), f'{pair.extra:.3f}'),
        ]
        for pair in pairs
    ]
    columns = ['object', 'kernel', 'cost', 'next best', 'its cost']
    lost = len(names) - len({pair.item for pair in pairs})
    note = f'{lost} objects are left over: there are too few kernels.' if lost else ''
    return Table([*columns, 'would go to', 'extra if forbidden'], rows, note)


def answer(ids: Tensor, sample: Sample) -> Picture:
    """Return the image painted by the segments of a model's answer.

    Args:
        ids: The panoptic map, (height, width).
        sample: The image.
    """
    names = sample.class_names
    answers = [i for i in ids.unique().tolist() if i % INSTANCE_OFFSET < len(names)]
    places = np.full(tuple(ids.shape), NO_KERNEL)
    for place, number in enumerate(answers):
        places[ids.numpy() == number] = place
    called = [f'{names[i % INSTANCE_OFFSET]} #{i // INSTANCE_OFFSET}' for i in answers]
    return painted(sample.image, places, called, 'what the model answers')


def _segments(view: KNetView, sample: Sample) -> Section:
    """Return which kernel won which pixel, and what the model makes of it."""
    assert view.panoptic is not None
    names, ids = sample.class_names, view.panoptic
    pictures = [answer(ids, sample)]
    figures: list[Figure] = [Row(pictures)]
    if (found := view.segments) is not None:
        labels, scores = found.labels.tolist(), found.scores.tolist()
        kernels = [
            f'kernel {k}: {names[label]} {score:.2f}'
            for k, (label, score) in enumerate(zip(labels, scores, strict=True))
        ]
        winner = found.winner.numpy()
        pictures.insert(0, painted(sample.image, winner, kernels, 'who won'))
        rows: list[list[str | float]] = []
        for k in found.won.argsort(descending=True).tolist()[:SHOWN]:
            won, area = float(found.won[k]), float(found.area[k])
            share = f'{won / area:.0%}' if area else ''
            reason = REMOVED.get(found.removed[k], found.removed[k])
            if won:
                rows.append([kernels[k], area, won, share, reason])
        columns = ['kernel', 'pixels of its mask', 'won', 'won / mask', '']
        figures.append(Table(columns, rows))
    more = ''
    if found is None or not found.ids.equal(ids):
        more = ' This model does more than that: its answer is another one.'
    return Section(
        'Which kernel won which pixel?',
        'Each pixel goes to the kernel with the largest product of score and mask '
        'probability, things and stuff together. Then a thing with a low score, or a '
        'kernel that won too little of its own mask, gives its pixels up: they become '
        'nothing.' + more,
        figures,
        r'k(x) = \underset{k}{\mathrm{argmax}} \; p_k M_k(x)',
        'knet "K-Net"',
    )


def _updates(
    view: KNetView, order: Sequence[int], names: Sequence[str]
) -> list[Section]:
    """Return what the gates let through, and which kernels attend to which."""
    looked = [stage for stage in view.stages[1:] if stage.attention is not None]
    if not looked:
        return []
    found = [_attention(looked, order, names)]
    if all(stage.feature_gate is not None for stage in looked):
        found.insert(0, _gates(looked, order, names))
    return found


def _gates(
    stages: Sequence[StageView], order: Sequence[int], names: Sequence[str]
) -> Section:
    frames = []
    for stage in stages:
        columns: list[list[Figure]] = []
        for what in ('feature', 'kernel'):
            gate = getattr(stage, f'{what}_gate')
            part, values = gate[list(order)], gate.flatten().numpy()
            edges = np.linspace(min(0.0, values.min()), max(1.0, values.max()), 11)
            counts = np.histogram(values, edges)[0] / values.size
            ranges = [f'{a:.1f} to {b:.1f}' for a, b in pairwise(edges)]
            what = f'{what} gate'
            columns.append(
                [
                    HeatMap(part.numpy(), f'{what}: kernels (rows) by channels'),
                    Bars(counts, ranges, f'{what}: share of all channels'),
                    Bars(part.mean(1).numpy(), names, f'{what}: mean of each kernel'),
                ]
            )
        # Gates side by side, what they show from top to bottom.
        frames.append(
            Row([each for pair in zip(*columns, strict=True) for each in pair])
        )
    labels = [f'stage {number}' for number in range(1, len(stages) + 1)]
    return Section(
        'How does a kernel change, and what do the gates do?',
        'The features of the pixels that a kernel claimed are summed up and mixed into '
        'it, channel by channel. Masks are noisy, so one gate says how much of that '
        'sum to take, the other how much of the old kernel to keep; they need not add '
        'up to 1. Before a gate the channels of a kernel are normalised, which leaves '
        'its mean little room: what differs is which channels are open.',
        [Slider('stage', labels, frames)],
        r'\tilde{K} = G^F \odot \psi_3(F^K) + G^K \odot \psi_4(K)',
        'knet "Adaptive Kernel Update"',
    )


def _attention(
    stages: Sequence[StageView], order: Sequence[int], names: Sequence[str]
) -> Section:
    weights = [stage.attention for stage in stages if stage.attention is not None]
    kernels = weights[-1].size(1)
    means = [_attended(each.mean(0), order, names) for each in weights]
    heads = [_attended(head, order, names) for head in weights[-1]]
    left = ' (columns not shown take the rest)' if len(order) < kernels else ''
    return Section(
        'Which kernels look at each other?',
        'After the gates, kernels attend to each other: this is how two kernels on one '
        'object can tell that there are two. A row sums up to 1 over all '
        f'{kernels} kernels{left}; alike for all it would be {1 / kernels:.3f}. The '
        'largest that is shown of each row is framed. First the mean of all heads by '
        'stage, then the heads of the last stage.',
        [
            Slider('stage', [f'stage {i + 1}' for i in range(len(means))], means),
            Slider('head', [f'head {i + 1}' for i in range(len(heads))], heads),
        ],
        r'\mathrm{softmax}\left(\frac{Q K^T}{\sqrt{d_k}}\right) V',
        'attention Eq. 1',
    )


def _attended(weights: Tensor, order: Sequence[int], names: Sequence[str]) -> Matrix:
    part = weights[list(order)][:, list(order)].double().numpy()
    best = [(row, int(column)) for row, column in enumerate(part.argmax(1))]
    columns = [name.partition(':')[0].removeprefix('kernel ') for name in names]
    return Matrix(part, names, columns, marked=best)
