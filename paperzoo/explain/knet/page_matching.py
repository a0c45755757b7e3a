"""The parts of K-Net's page that need objects: the matching, losses, the contest."""

import numpy as np

from paperzoo.explain.html.report import (
    Figure,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.knet.figures import (
    SHOWN,
    cropped,
    hex_color,
    losses_table,
    painted,
)
from paperzoo.explain.knet.trace import NOBODY, Contest, KNetView, MatchView, Pair
from paperzoo.explain.sample import Sample

TERMS = {
    'cls_cost': 'class',
    'mask_cost': 'mask, per pixel',
    'dice_cost': 'mask, dice',
    'boundary_cost': 'boundary',
}


def matching_sections(view: KNetView, sample: Sample) -> list[Section]:
    """Return which kernel learns which object, why, and what that costs.

    Args:
        view: What K-Net did, with annotations.
        sample: The image.
    """
    losses = Section(
        'What does each stage lose?',
        'Every stage answers for its own masks and classes, with the objects that the '
        'matching gave to its kernels. Kernels without an object learn only to be no '
        'class.',
        [losses_table(view.losses)],
        r'L = \lambda_{cls} L_{cls} + \lambda_{ce} L_{ce} + \lambda_{dice} L_{dice}',
        'knet "Training Instance Kernels"',
    )
    if not len(view.labels):
        return [losses]
    names = [
        f'{number}: {sample.class_names[label]}'
        for number, label in enumerate(view.labels.tolist())
    ]
    stops = [_stop(match) for match in view.matches]
    costs = [each for match in view.matches for each in _costs(match, names)]
    reasons = [_reasons(match, names) for match in view.matches]
    figures: list[Figure] = [
        _objects(view, sample, names),
        Slider('matching', [label for label, _ in costs], [m for _, m in costs]),
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
            [Slider('matching', stops, reasons)],
        ),
        losses,
    ]


def _stop(match: MatchView) -> str:
    if match.place.startswith('stage'):
        return f'teaches stage {int(match.place.split()[1]) + 1}'
    return f'teaches the {match.place}'


def _objects(view: KNetView, sample: Sample, names: list[str]) -> Picture:
    """Return the image with a point on each object, and with its outline as a box."""
    masks = cropped(view.objects, sample)
    scale = sample.image.shape[1] / masks.shape[2]
    marks = []
    for number, (mask, name) in enumerate(zip(masks, names, strict=True)):
        rows, columns = np.nonzero(mask > 0)
        if len(rows):
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            box = tuple(float(edge * scale) for edge in edges)
            marks.append(Mark('box', box, hex_color(number), name))
    return Picture(sample.image, 'The objects; point at a box for its number.', marks)


def _costs(match: MatchView, names: list[str]) -> list[tuple[str, Matrix]]:
    """Return the cost of each pair, then its terms; matched kernels first."""
    chosen = [pair.kernel for pair in match.pairs]
    by_cost = match.cost.amin(1).argsort().tolist()
    order = list(dict.fromkeys(chosen + by_cost))[: max(SHOWN, len(chosen))]
    marked = [(order.index(pair.kernel), pair.item) for pair in match.pairs]
    rows = [f'kernel {kernel}' for kernel in order]
    parts = {'the sum': match.cost}
    parts |= {TERMS.get(name, name): term for name, term in match.terms.items()}
    return [
        (
            f'{_stop(match)}: {what}',
            Matrix(part[order].numpy(), rows, names, marked=marked),
        )
        for what, part in parts.items()
    ]


def _reasons(match: MatchView, names: list[str]) -> Table:
    columns = ['object', 'kernel', 'cost', 'next best', 'its cost']
    rows = [[names[pair.item], *_reason(match, pair)] for pair in match.pairs]
    lost = len(names) - len({pair.item for pair in match.pairs})
    note = f'{lost} objects are left over: there are too few kernels.' if lost else ''
    return Table([*columns, 'would go to', 'extra if forbidden'], rows, note)


def _reason(match: MatchView, pair: Pair) -> list[str | float]:
    def name(kernel: int) -> str:
        if kernel == NOBODY:
            return 'nobody'
        held = int(match.gt_inds[kernel])
        busy = f' (has object {held - 1})' if held else ''
        return f'kernel {kernel}{busy}'

    costs = [f'{pair.cost:.3f}', f'{pair.rival_cost:.3f}', f'{pair.extra:.3f}']
    own = f'kernel {pair.kernel}'
    return [own, costs[0], name(pair.rival), costs[1], name(pair.heir), costs[2]]


def contest_section(contest: Contest, sample: Sample) -> Section:
    """Return which kernel won which pixel, and what became of it.

    Args:
        contest: Of the image.
        sample: The image.
    """
    names = [
        f'kernel {k}: {sample.class_names[label]} {score:.2f}'
        for k, (label, score) in enumerate(
            zip(contest.labels.tolist(), contest.scores.tolist(), strict=True)
        )
    ]
    winner = contest.winner.numpy()
    kept = np.where(contest.kept.numpy()[winner], winner, NOBODY)
    order = contest.won.argsort(descending=True).tolist()
    rows: list[list[str | float]] = []
    for k in order[:SHOWN]:
        won, area = int(contest.won[k]), int(contest.area[k])
        if won:
            share = f'{won / area:.0%}' if area else ''
            rows.append(
                [
                    names[k],
                    area,
                    won,
                    share,
                    'a segment' if contest.kept[k] else 'given up',
                ]
            )
    return Section(
        'Which kernel won which pixel?',
        'Each pixel goes to the kernel with the largest product of score and mask '
        'probability, things and stuff together. Then a thing with a low score, or a '
        'kernel that won too little of its own mask, gives its pixels up: they become '
        'nothing.',
        [
            Row(
                [
                    _captioned(painted(sample.image, winner, names), 'who won'),
                    _captioned(painted(sample.image, kept, names), 'what is kept'),
                ]
            ),
            Table(['kernel', 'pixels of its mask', 'won', 'won / mask', ''], rows),
        ],
        r'k(x) = \underset{k}{\mathrm{argmax}} \; p_k M_k(x)',
        'knet "K-Net"',
    )


def _captioned(picture: Picture, caption: str) -> Picture:
    return Picture(picture.image, f'{caption}. {picture.caption}', picture.marks)
