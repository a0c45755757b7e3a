"""FCOS's page: who learns what, how central it is, what is left in the end."""

import torch
from torch import nn

from paperzoo.explain.fcos.page_detections import (
    found_section,
    level_names,
    quality_section,
    ranking_section,
    suppression_section,
)
from paperzoo.explain.fcos.trace import Assignment, FCOSExplanation, Truth, explain
from paperzoo.explain.html.report import (
    Bars,
    Figure,
    Mark,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.marks import (
    box_mark,
    class_name,
    colour,
    object_names,
    point_marks,
)
from paperzoo.explain.sample import Sample
from paperzoo.fcos.geometry import box_areas, encode_ltrb
from paperzoo.fcos.head import FCOSHead

RULES = {
    'area': 'the one of smallest area',
    'nearest': 'the one whose centre is nearest',
}
# Longer tables are not read.
MOST_ROWS = 20


def sections(model: nn.Module, sample: Sample) -> list[Section]:
    """Return the sections of the page.

    Args:
        model: A detector with an FCOSHead, in evaluation mode.
        sample: An image; targets and losses are shown if it is annotated.
    """
    head: FCOSHead = model.bbox_head  # type: ignore[assignment]
    found = explain(model, sample)
    page = [found_section(sample, found)]
    if found.truth is not None and len(found.truth.boxes):
        page += [
            _points_section(head, sample, found, found.truth),
            _ambiguity_section(head, sample, found, found.truth),
            _variants_section(sample, found, found.truth),
        ]
    page += [
        quality_section(head, sample, found),
        ranking_section(head, sample, found),
        suppression_section(head, sample, found),
    ]
    if found.truth is not None and len(found.truth.boxes):
        page.append(_losses_section(sample, found.truth))
    return page


def _object_marks(sample: Sample, truth: Truth) -> list[Mark]:
    names = object_names(sample, truth.labels)
    return [
        # The number only: names would hide the points.
        box_mark(box, colour(index), _describe_box(name, box), name.split()[0])
        for index, (name, box) in enumerate(zip(names, truth.boxes, strict=True))
    ]


def _describe_box(name: str, box: torch.Tensor) -> str:
    width, height = (box[2:] - box[:2]).tolist()
    return f'{name}: {width:.0f} x {height:.0f} pixels'


def _point_texts(
    sample: Sample, found: FCOSExplanation, truth: Truth, choice: Assignment
) -> list[str]:
    """Return what each point says of itself."""
    names = object_names(sample, truth.labels)
    boxes = torch.cat((truth.boxes.new_zeros(1, 4), truth.boxes))[choice.gt_inds]
    distances = encode_ltrb(found.maps.points, boxes).tolist()
    texts = []
    points, owners = found.maps.points.tolist(), choice.gt_inds.tolist()
    for (x, y), owner, (left, top, right, bottom) in zip(
        points, owners, distances, strict=True
    ):
        learns = (
            f'learns {names[owner - 1]}\nl* = {left:.1f}, t* = {top:.1f}, '
            f'r* = {right:.1f}, b* = {bottom:.1f}'
            if owner
            else 'background'
        )
        texts.append(f'({x:g}, {y:g}) {learns}')
    return texts


def _points_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation, truth: Truth
) -> Section:
    choice, maps = truth.assignment, found.maps
    boxes = _object_marks(sample, truth)
    texts = _point_texts(sample, found, truth, choice)
    sizes = [height * width for height, width in maps.sizes]
    positive = choice.gt_inds > 0
    everything = point_marks(maps.points, choice.gt_inds, texts, negatives=False)
    frames: list[Figure] = [
        Picture(
            sample.image,
            f'{int(positive.sum())} of {len(positive)} points have an object.',
            boxes + everything,
        )
    ]
    start = 0
    for size, limits in zip(sizes, head.assigner.regress_ranges, strict=True):
        part = slice(start, start + size)
        marks = point_marks(maps.points[part], choice.gt_inds[part], texts[part])
        frames.append(
            Picture(
                sample.image,
                f'{int(positive[part].sum())} of {size} points have an object; the '
                f'largest distance lies between {max(limits[0], 0):g} and '
                f'{"infinity" if limits[1] >= 1e5 else format(limits[1], "g")} pixels.',
                boxes + marks,
            )
        )
        start += size
    return Section(
        'Which points learn which box?',
        'There are no anchors: every cell of every pyramid level is one point in the '
        'image, and it learns the distances from itself to the four edges of the box '
        'it lies in. Points have the colour of their box; grey ones are background. '
        'Move through the levels: small boxes belong to the fine ones, large boxes to '
        'the coarse ones.',
        [Slider('level', ['all', *level_names(head)], frames)],
        r'l^* = x - x_0,\quad t^* = y - y_0,\quad r^* = x_1 - x,\quad b^* = y_1 - y',
        'fcos Eq. 1',
    )


def _ambiguity_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation, truth: Truth
) -> Section:
    choice = truth.assignment
    where = torch.nonzero(choice.ambiguous).flatten()
    names = object_names(sample, truth.labels)
    areas = box_areas(truth.boxes, head.assigner.area_convention)
    centres = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    rule = RULES[head.assigner.ambiguity]
    rows, marks = [], _object_marks(sample, truth)
    for point in where.tolist():
        x, y = found.maps.points[point].tolist()
        owner = int(choice.gt_inds[point]) - 1
        rivals = torch.nonzero(choice.candidates[point]).flatten().tolist()
        far = (centres - found.maps.points[point]).norm(dim=1)
        listed = ', '.join(
            f'{names[one]} ({areas[one]:.0f} px², centre {far[one]:.1f} px away)'
            for one in rivals
        )
        rows.append((f'{x:g}, {y:g}', listed, names[owner]))
        text = f'({x:g}, {y:g}) lies in {listed}: it learns {names[owner]}, {rule}'
        marks.append(Mark('point', (x, y), colour(owner), text))
    without = int(truth.variants[False, head.assigner.center_sampling].ambiguous.sum())
    text = (
        f'{len(where)} points lie in more than one box that fits their level. Of those '
        f'boxes each takes {rule}. Without the ranges of the levels it would be '
        f'{without} points: overlapping objects mostly differ in size, so the pyramid '
        'sends them to different levels.'
    )
    figures: list[Figure] = [Picture(sample.image, 'The ambiguous points.', marks)]
    if rows:
        shown = (
            f'The first {MOST_ROWS} of {len(rows)}.' if len(rows) > MOST_ROWS else ''
        )
        columns = ('point x, y', 'could learn', 'learns')
        figures.append(Table(columns, rows[:MOST_ROWS], shown))
    equations = {
        'area': r'k^* = \mathrm{argmin}_{k}\; w_k h_k',
        'nearest': r'k^* = \mathrm{argmin}_{k}\; \lVert (x, y) - (x_k, y_k) \rVert',
    }
    return Section(
        'Which points are ambiguous, and who wins them?',
        text,
        [Row(figures)],
        equations[head.assigner.ambiguity],
        'fcos "Multi-level Prediction with FPN"',
    )


def _variants_section(sample: Sample, found: FCOSExplanation, truth: Truth) -> Section:
    boxes = _object_marks(sample, truth)
    pictures: list[Figure] = []
    rows = []
    for (ranges, sampling), choice in truth.variants.items():
        texts = _point_texts(sample, found, truth, choice)
        marks = point_marks(found.maps.points, choice.gt_inds, texts, negatives=False)
        name = (
            f'{"with" if ranges else "without"} ranges, '
            f'{"with" if sampling else "without"} centre sampling'
        )
        same = torch.equal(choice.gt_inds, truth.assignment.gt_inds)
        used = ' (equal to what this model learns)' if same else ''
        positives = int((choice.gt_inds > 0).sum())
        ambiguous = int(choice.ambiguous.sum())
        learnable = f'{int(choice.learnable.sum())} of {len(truth.boxes)}'
        rows.append((name, positives, ambiguous, learnable))
        pictures.append(
            Picture(sample.image, f'{name}{used}: {positives} points', boxes + marks)
        )
    columns = ('', 'points with an object', 'ambiguous', 'boxes some point could learn')
    return Section(
        'What do the ranges and centre sampling change?',
        'The ranges send each box to the level of its size. Centre sampling keeps only '
        'points near the centre of a box, within a few strides. Both remove ambiguous '
        'points, but a box may be left without any: see the last column. All levels '
        'are drawn.',
        [Row(pictures), Table(columns, rows)],
        r'm_{i-1} \le \max(l^*, t^*, r^*, b^*) \le m_i',
        'fcos "Multi-level Prediction with FPN"',
    )


def _losses_section(sample: Sample, truth: Truth) -> Section:
    losses = truth.losses
    names = ['background', *object_names(sample, truth.labels)]
    totals = losses.cls + losses.bbox + losses.centerness
    whole = max(float(totals.sum()), 1e-12)
    rows: list[tuple[str | float, ...]] = [
        (
            *(name, float(points), float(cls), float(bbox), float(quality)),
            *(float(total), f'{float(total) / whole:.1%}'),
        )
        for name, points, cls, bbox, quality, total in zip(
            names,
            losses.points,
            losses.cls,
            losses.bbox,
            losses.centerness,
            totals,
            strict=True,
        )
    ]
    sums = [float(one.sum()) for one in (losses.cls, losses.bbox, losses.centerness)]
    rows.append(('all', float(losses.points.sum()), *sums, float(totals.sum()), ''))
    columns = ('object', 'points', 'class', 'box', 'centre-ness', 'sum', 'share')
    classes = sorted({class_name(sample, label) for label in truth.labels})
    return Section(
        'Whose loss is it?',
        'Every point adds to the loss, and learns at most one object: so the loss can '
        f'be told apart by object ({", ".join(classes)}) and background. The last row '
        'is the loss of the image, with the network in evaluation mode.',
        [
            Row(
                [
                    Picture(sample.image, '', _object_marks(sample, truth)),
                    Bars(totals.cpu().numpy(), names, 'Loss of each object.'),
                ]
            ),
            Table(columns, rows),
        ],
        r'L = \frac{1}{N_{pos}} \sum_{x, y} L_{cls}(p_{x,y}, c^*_{x,y}) + '
        r'\frac{\lambda}{N_{pos}} \sum_{x, y} 1_{\{c^*_{x,y} > 0\}} '
        r'L_{reg}(t_{x,y}, t^*_{x,y})',
        'fcos Eq. 2; the loss of the centre-ness is added to it',
    )
