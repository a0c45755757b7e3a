"""FCOS's page: who learns what, how central it is, what is left in the end."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from paperzoo.explain.fcos.trace import (
    Candidates,
    Fate,
    FCOSExplanation,
    Truth,
    explain,
)
from paperzoo.explain.html.report import (
    Bars,
    Figure,
    HeatMap,
    Mark,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.marks import (
    GREY,
    box_mark,
    class_name,
    colour,
    object_names,
    padded,
    plot_marks,
    point_marks,
)
from paperzoo.explain.sample import Sample
from paperzoo.fcos.geometry import box_areas, encode_ltrb
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.post_processing import score_options

RULES = {
    'area': 'the one of smallest area',
    'nearest': 'the one whose centre is nearest',
}
RULE_EQUATIONS = {
    'area': r'k^* = \mathrm{argmin}_{k}\; w_k h_k',
    'nearest': r'k^* = \mathrm{argmin}_{k}\; \lVert (x, y) - (x_k, y_k) \rVert',
}
QUALITY_NAMES = {'centerness': 'centre-ness', 'iou': 'IoU'}
# What is still read: rows of the tables, frames of the slider, points of a plot.
MOST_AMBIGUOUS = 20
MOST_RANKED = 15
MOST_FRAMES = 12
MOST_POINTS = 400


def sections(model: nn.Module, sample: Sample) -> list[Section]:
    """Return the sections of the page.

    Args:
        model: A detector with an FCOSHead, in evaluation mode.
        sample: An image; targets and losses are shown if it is annotated.
    """
    head: FCOSHead = model.bbox_head  # type: ignore[assignment]
    found = explain(model, sample)
    truth = found.truth if found.truth is not None and len(found.truth.boxes) else None
    page = [_found_section(sample, found)]
    if truth is not None:
        page += [
            _points_section(head, sample, found, truth),
            _ambiguity_section(head, sample, found, truth),
            _variants_section(sample, found, truth),
        ]
    page.append(_quality_section(head, sample, found))
    if found.candidates is not None:
        page += [
            _ranking_section(head, sample, found.candidates, truth),
            _suppression_section(head, sample, found, found.candidates),
        ]
    if truth is not None:
        page.append(_losses_section(sample, truth))
    return page


def _found_section(sample: Sample, found: FCOSExplanation) -> Section:
    """Show the model's own predictions beside the truth."""
    boxes, chosen = found.predictions, found.candidates
    details = [''] * len(boxes)
    if chosen is not None and len(chosen.detections) == len(boxes):
        details = _details(chosen, chosen.detections)
    marks = box_marks(sample, boxes.bboxes, boxes.scores, boxes.labels, details)
    caption = f'Detections with a score of at least {sample.score_thr:g}.'
    pictures: list[Figure] = [Picture(sample.image, caption, marks)]
    said = f'{len(marks)} detections.'
    if found.truth is not None:
        truth = found.truth
        names = object_names(sample, truth.labels)
        shown = [
            box_mark(box, colour(int(label)), name, name)
            for box, label, name in zip(truth.boxes, truth.labels, names, strict=True)
        ]
        pictures.append(Picture(sample.image, 'The annotated objects.', shown))
        said += f' {len(names)} objects are annotated.'
    else:
        said += ' No annotations are known, so targets and losses are left out.'
    height, width = sample.image.shape[:2]
    said += f' The network sees {width} x {height} pixels; colours are classes.'
    if found.redefined:
        said += f' {found.redefined} What is shown is what these return.'
    if chosen is None:
        said += ' The boxes are chosen in a way of its own, which is not shown.'
    return Section(f'What is found in {sample.name}', said, [Row(pictures)])


def box_marks(
    sample: Sample,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    details: Sequence[str],
) -> list[Mark]:
    """Return the boxes that are not below the threshold, by falling score."""
    order = scores.argsort(descending=True, stable=True)
    marks = []
    for one in order[scores[order] >= sample.score_thr].tolist():
        name, score = class_name(sample, labels[one]), float(scores[one])
        text = f'{name}, score {score:.3f}\n{details[one]}'
        shade = colour(int(labels[one]))
        marks.append(box_mark(boxes[one], shade, text, f'{name} {score:.2f}'))
    return marks


def _details(boxes: Candidates, which: Tensor) -> list[str]:
    pairs = zip(boxes.cls_score[which], boxes.quality[which], strict=True)
    return [f'class score {cls:.3f}, quality {quality:.3f}' for cls, quality in pairs]


def level_names(head: FCOSHead) -> list[str]:
    """Return what the levels are called on the page."""
    return [f'stride {stride[0]:g}' for stride in head.stride_pairs]


def object_marks(sample: Sample, truth: Truth) -> list[Mark]:
    """Return the boxes of the annotated objects, each with its number."""
    marks = []
    for index, name in enumerate(object_names(sample, truth.labels)):
        box = truth.boxes[index]
        width, height = (box[2:] - box[:2]).tolist()
        text = f'{name}: {width:.0f} x {height:.0f} pixels'
        # The number only: names would hide the points.
        marks.append(box_mark(box, colour(index), text, name.split()[0]))
    return marks


def point_texts(
    sample: Sample, points: Tensor, truth: Truth, owners: Tensor, ltrb: Tensor
) -> list[str]:
    """Return what each point says of itself."""
    names = [*object_names(sample, truth.labels), 'what no box says']
    return [
        f'({x:g}, {y:g}) learns {names[owner - 1]}\n'
        f'l* = {left:.1f}, t* = {top:.1f}, r* = {right:.1f}, b* = {bottom:.1f}'
        if owner
        else f'({x:g}, {y:g}) background'
        for (x, y), owner, (left, top, right, bottom) in zip(
            points.tolist(), owners.tolist(), ltrb.tolist(), strict=True
        )
    ]


def _points_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation, truth: Truth
) -> Section:
    owners, points = truth.owners, found.maps.points
    boxes = object_marks(sample, truth)
    texts = point_texts(sample, points, truth, owners, truth.ltrb)
    caption = f'{int((owners > 0).sum())} of {len(owners)} points have an object.'
    everything = point_marks(points, owners, texts, negatives=False)
    frames: list[Figure] = [Picture(sample.image, caption, boxes + everything)]
    start = 0
    for (height, width), (low, high) in zip(
        found.maps.sizes, head.assigner.regress_ranges, strict=True
    ):
        part = slice(start, start + height * width)
        start = part.stop
        caption = (
            f'{int((owners[part] > 0).sum())} of {height * width} points have an '
            f'object; the largest distance lies between {max(low, 0):g} and '
            f'{"infinity" if high >= 1e5 else format(high, "g")} pixels.'
        )
        marks = point_marks(points[part], owners[part], texts[part])
        frames.append(Picture(sample.image, caption, boxes + marks))
    changed = int((owners != truth.assignment.gt_inds).sum())
    return Section(
        'Which points learn which box?',
        'There are no anchors: every cell of every pyramid level is one point in the '
        'image, and it learns the distances from itself to the four edges of the box '
        'it lies in. Points have the colour of their box; grey ones are background. '
        'Move through the levels: small boxes belong to the fine ones, large boxes to '
        'the coarse ones.'
        + (
            f' {changed} points learn something else than the assigner says.'
            if changed
            else ''
        ),
        [Slider('level', ['all', *level_names(head)], frames)],
        r'l^* = x - x_0,\quad t^* = y - y_0,\quad r^* = x_1 - x,\quad b^* = y_1 - y',
        'fcos Eq. 1',
    )


def _ambiguity_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation, truth: Truth
) -> Section:
    choice = truth.assignment
    names = object_names(sample, truth.labels)
    areas = box_areas(truth.boxes, head.assigner.area_convention)
    centres = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    rule = RULES[head.assigner.ambiguity]
    rows, marks = [], object_marks(sample, truth)
    for point in torch.nonzero(choice.ambiguous).flatten().tolist():
        x, y = found.maps.points[point].tolist()
        owner = int(choice.gt_inds[point]) - 1
        far = (centres - found.maps.points[point]).norm(dim=1)
        listed = ', '.join(
            f'{names[one]} ({areas[one]:.0f} px², centre {far[one]:.1f} px away)'
            for one in torch.nonzero(choice.candidates[point]).flatten().tolist()
        )
        rows.append((f'{x:g}, {y:g}', listed, names[owner]))
        text = f'({x:g}, {y:g}) lies in {listed}: it learns {names[owner]}, {rule}'
        marks.append(Mark('point', (x, y), colour(owner), text))
    without = int(truth.variants[False, head.assigner.center_sampling].ambiguous.sum())
    figures: list[Figure] = [Picture(sample.image, 'The ambiguous points.', marks)]
    if rows:
        most = MOST_AMBIGUOUS
        shown = f'The first {most} of {len(rows)}.' if len(rows) > most else ''
        columns = ('point x, y', 'could learn', 'learns')
        figures.append(Table(columns, rows[:most], shown))
    return Section(
        'Which points are ambiguous, and who wins them?',
        f'{len(rows)} points lie in more than one box that fits their level. Of those '
        f'boxes each takes {rule}. Without the ranges of the levels it would be '
        f'{without} points: overlapping objects mostly differ in size, so the pyramid '
        'sends them to different levels.',
        [Row(figures)],
        RULE_EQUATIONS[head.assigner.ambiguity],
        'fcos "Multi-level Prediction with FPN"',
    )


def _variant_name(ranges: bool, sampling: bool) -> str:
    words = ['with' if there else 'without' for there in (ranges, sampling)]
    return f'{words[0]} ranges, {words[1]} centre sampling'


def _variants_section(sample: Sample, found: FCOSExplanation, truth: Truth) -> Section:
    points, boxes = found.maps.points, object_marks(sample, truth)
    padded_boxes = torch.cat((truth.boxes.new_zeros(1, 4), truth.boxes))
    pictures: list[Figure] = []
    rows = []
    for key, choice in truth.variants.items():
        ltrb = encode_ltrb(points, padded_boxes[choice.gt_inds])
        texts = point_texts(sample, points, truth, choice.gt_inds, ltrb)
        marks = point_marks(points, choice.gt_inds, texts, negatives=False)
        name = _variant_name(*key)
        same = torch.equal(choice.gt_inds, truth.owners)
        used = ' (equal to what this model learns)' if same else ''
        positives = float((choice.gt_inds > 0).sum())
        learnable = f'{int(choice.learnable.sum())} of {len(truth.boxes)}'
        rows.append((name, positives, float(choice.ambiguous.sum()), learnable))
        caption = f'{name}{used}: {positives:.0f} points'
        pictures.append(Picture(sample.image, caption, boxes + marks))
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


def _quality_section(head: FCOSHead, sample: Sample, found: FCOSExplanation) -> Section:
    """Show the maps of the third branch, its target, and the class scores."""
    maps, name = found.maps, QUALITY_NAMES[head.box_quality]
    views = {
        f'predicted {name}': maps.quality,
        'class score': maps.scores.amax(dim=1),
    }
    if found.truth is not None:
        target = found.truth.quality_target
        views = {f'target of the {name}, points with an object': target} | views
    frames: list[Figure] = []
    for level, ((down, across), stride) in enumerate(
        zip(maps.sizes, head.stride_pairs, strict=True)
    ):
        ground = padded(
            sample.image, round(down * stride[1]), round(across * stride[0])
        )
        shown = [
            HeatMap(maps.levels(values)[level].cpu().numpy(), caption, ground, 0.0, 1.0)
            for caption, values in views.items()
        ]
        frames.append(Row(shown))
    central = head.box_quality == 'centerness'
    return Section(
        f'Where does it expect good boxes? The {name}',
        f'A third branch predicts the {name} of each point. It is trained on points '
        'with an object only; what it says about background does not matter, since '
        'the class score is low there. Point at a map for its numbers.',
        [Slider('level', level_names(head), frames)],
        r'\text{centerness}^* = \sqrt{\frac{\min(l^*, r^*)}{\max(l^*, r^*)} \times '
        r'\frac{\min(t^*, b^*)}{\max(t^*, b^*)}}'
        if central
        else r'\text{IoU}(t, t^*)',
        'fcos Eq. 3' if central else 'fcos-journal',
    )


def _ranking_section(
    head: FCOSHead, sample: Sample, boxes: Candidates, truth: Truth | None
) -> Section:
    """Show what the product with the centre-ness changes."""
    name = QUALITY_NAMES[head.box_quality]
    pictures: list[Figure] = []
    for by, scores, which in (
        ('by class score alone', boxes.cls_score, boxes.by_cls),
        (f'by the product with the {name}', boxes.score, boxes.detections),
    ):
        shown = boxes.boxes[which], scores[which], boxes.label[which]
        marks = box_marks(sample, *shown, _details(boxes, which))
        caption = f'Chosen {by}, {sample.score_thr:g} and better. {len(marks)} boxes.'
        pictures.append(Picture(sample.image, caption, marks))
    figures: list[Figure] = [Row(pictures)]
    plotted, overlap = '', None
    if truth is not None:
        same = boxes.label[:, None] == truth.labels
        overlap = bbox_overlaps(boxes.boxes, truth.boxes).where(same, 0.0).amax(dim=1)
        plotted = (
            ' In the plots a good score lies on the diagonal: what lies far right and '
            'low is a confident, badly placed box.'
        )
        if len(overlap):
            figures.append(_plots(boxes, overlap, name))
    figures.append(_ranking_table(sample, boxes, overlap, name))
    central = head.box_quality == 'centerness'
    product = rf'p \cdot \text{{{"centerness" if central else "IoU"}}}'
    root = score_options(head.test_cfg)['score_mode'] == 'sqrt'
    return Section(
        f'What does the product with the {name} change?',
        'A point near the edge of an object can be sure of its class and still predict '
        f'a poor box. The {name} pulls its score down, so that in the suppression the '
        f'box of a central point wins.{plotted}',
        figures,
        rf's = \sqrt{{{product}}}' if root else f's = {product}',
        'fcos "Center-ness"' if central else 'fcos-journal',
    )


def _plots(boxes: Candidates, overlap: Tensor, name: str) -> Row:
    shades = [colour(label) for label in boxes.label[:MOST_POINTS].tolist()]
    up = overlap[:MOST_POINTS].tolist()
    figures: list[Figure] = []
    for scores, title in (
        (boxes.cls_score, 'class score'),
        (boxes.score, f'product with the {name}'),
    ):
        across = scores[:MOST_POINTS].tolist()
        pairs = zip(across, up, strict=True)
        texts = [f'{title} {x:.3f}, IoU {y:.3f}' for x, y in pairs]
        ground, marks = plot_marks(across, up, shades, texts)
        caption = (
            f'To the right: {title}, 0 to 1. Upwards: IoU with the nearest object of '
            f'the class, 0 to 1. The {len(texts)} candidates of highest class score, '
            'before the suppression.'
        )
        figures.append(Picture(ground, caption, marks))
    return Row(figures)


def _ranking_table(
    sample: Sample, boxes: Candidates, overlap: Tensor | None, name: str
) -> Table:
    after = boxes.score.argsort(descending=True, stable=True).argsort()
    numbers = {
        'class score': boxes.cls_score,
        name: boxes.quality,
        'score': boxes.score,
        'rank by score': after + 1.0,
    } | ({} if overlap is None else {'IoU': overlap})
    rows: list[tuple[str | float, ...]] = [
        (
            one + 1.0,
            class_name(sample, boxes.label[one]),
            *(round(float(values[one]), 3) for values in numbers.values()),
            _fate(boxes, one),
        )
        for one in range(min(MOST_RANKED, len(after)))
    ]
    caption = (
        f'The {len(rows)} of {len(after)} candidates with the highest class score; '
        'boxes are named by that rank.'
    )
    return Table(('rank by class', 'class', *numbers, 'in the end'), rows, caption)


def _fate(boxes: Candidates, one: int) -> str:
    fate, winner = Fate(int(boxes.fate[one])), int(boxes.removed_by[one])
    if fate == Fate.DETECTION:
        return 'detection'
    if winner >= 0:
        return f'removed by box {winner + 1}'
    return f'dropped: {fate.name.lower()}'


def _suppression_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation, boxes: Candidates
) -> Section:
    """Show which boxes each detection removed."""
    frames: list[Figure] = []
    labels: list[str] = []
    for winner in boxes.detections[:MOST_FRAMES].tolist():
        losers = torch.nonzero(boxes.removed_by == winner).flatten()
        overlap = bbox_overlaps(boxes.boxes[[winner]], boxes.boxes[losers])[0]
        marks = [
            box_mark(
                boxes.boxes[loser],
                GREY,
                f'box {loser + 1}: score {boxes.score[loser]:.3f}, '
                f'IoU with the winner {share:.2f}',
            )
            for loser, share in zip(losers.tolist(), overlap.tolist(), strict=True)
        ]
        name = class_name(sample, boxes.label[winner])
        score = f'{boxes.score[winner]:.2f}'
        text = f'box {winner + 1}, {name}, score {score}'
        shade = colour(int(boxes.label[winner]))
        marks.append(box_mark(boxes.boxes[winner], shade, text, f'{name} {score}'))
        labels.append(f'{len(labels) + 1}: {name} {score}')
        caption = f'It removes {len(losers)} boxes, drawn in grey.'
        frames.append(Picture(sample.image, caption, marks))
    cfg = head.test_cfg
    left = {fate: int((boxes.fate == fate).sum()) for fate in Fate}
    return Section(
        'Which boxes does the suppression remove?',
        f'{len(boxes.label)} candidates score above {cfg.get("score_thr", 0):g}: '
        f'{left[Fate.DETECTION]} become detections, {left[Fate.NMS]} overlap a better '
        f'box of their class by more than {(cfg.get("nms") or {}).get("iou_threshold")}'
        f', and {left[Fate.MAX_PER_IMG]} are dropped, there being better ones enough '
        f'(max_per_img). Before that {left[Fate.NMS_PRE]} were not among the best of '
        f'their level (nms_pre), and {left[Fate.MIN_BBOX_SIZE]} too small '
        f'(min_bbox_size). Here are the {len(frames)} best detections with what each '
        f'of them removed.{_afterwards(found.predictions, boxes)}',
        [Slider('detection', labels, frames)] if frames else [],
    )


def _afterwards(predictions: InstanceData, boxes: Candidates) -> str:
    """Return a sentence on what the model does with the detections in the end."""
    kept = boxes.detections
    ours = boxes.score[kept], boxes.label[kept]
    if len(kept) != len(predictions) or not all(
        map(torch.equal, ours, (predictions.scores, predictions.labels))
    ):
        return (
            f' The model changes them afterwards: it predicts {len(predictions)} boxes,'
            ' those of the first picture.'
        )
    moves = (predictions.bboxes - boxes.boxes[kept]).abs()
    if not moves.any():
        return ''
    return (
        f' Afterwards the model moves the detections by up to {moves.max():.1f} pixels,'
        ' to where the first picture shows them.'
    )


def _losses_section(sample: Sample, truth: Truth) -> Section:
    losses = truth.losses
    names = ['background', *object_names(sample, truth.labels), 'what no box says']
    points = torch.bincount(truth.owners, minlength=len(names)).float().tolist()
    if not points[-1]:  # no subclass made targets that no box explains
        names, points = names[:-1], points[:-1]
    terms = [one.tolist()[: len(names)] for one in losses.terms.values()]
    sums = [sum(row) for row in zip(*terms, strict=True)]
    share = lambda part: f'{part / max(losses.total, 1e-12):.1%}'
    rows: list[tuple[str | float, ...]] = [
        (*row, total, share(total))
        for *row, total in (
            zip(names, points, *terms, sums, strict=True) if terms else ()
        )
    ]
    blank = [''] * len(terms)
    rows += [(n, '', *blank, value, share(value)) for n, value in losses.rest.items()]
    rows.append(('all', sum(points), *map(sum, terms), losses.total, ''))
    columns = ('object', 'points', *('class', 'box', 'centre-ness')[: len(terms)])
    bars = np.array([*sums, *losses.rest.values()])
    listed = [*names[: len(sums)], *losses.rest]
    classes = sorted({class_name(sample, label) for label in truth.labels})
    pictures: list[Figure] = [
        Picture(sample.image, '', object_marks(sample, truth)),
        Bars(bars, listed, 'Loss of each object.'),
    ]
    return Section(
        'Whose loss is it?',
        'Every point adds to the loss, and learns at most one object: so the loss can '
        f'be told apart by object ({", ".join(classes)}) and background. The last row '
        'is the loss of the image, with the network in evaluation mode.',
        [Row(pictures), Table((*columns, 'sum', 'share'), rows)],
        r'L = \frac{1}{N_{pos}} \sum_{x, y} L_{cls}(p_{x,y}, c^*_{x,y}) + '
        r'\frac{\lambda}{N_{pos}} \sum_{x, y} 1_{\{c^*_{x,y} > 0\}} '
        r'L_{reg}(t_{x,y}, t^*_{x,y})',
        'fcos Eq. 2; the loss of the centre-ness is added to it',
    )
