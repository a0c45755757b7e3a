"""The part of FCOS's page on predictions: maps, ranking, suppression."""

# isort: split
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from paperzoo.explain.fcos.trace import FCOSExplanation
from paperzoo.explain.fcos.trace_detections import DROPPED, KEPT, Candidates
from paperzoo.explain.html.report import (
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
)
from paperzoo.explain.sample import Sample
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.post_processing import score_options

# Rows of the table, frames of the slider, points of a plot: what is still read.
MOST_ROWS = 15
MOST_FRAMES = 12
MOST_POINTS = 400


def found_section(sample: Sample, found: FCOSExplanation) -> Section:
    """Return the detections beside the truth."""
    boxes = found.candidates
    good = (boxes.removed_by == KEPT) & (boxes.score >= sample.score_thr)
    marks = _detection_marks(sample, boxes, boxes.score, good)
    pictures: list[Figure] = [
        Picture(
            sample.image,
            f'Detections with a score of at least {sample.score_thr:g}.',
            marks,
        )
    ]
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
    return Section(
        f'What is found in {sample.name}',
        f'{said} The network sees {width} x {height} pixels; colours are classes.',
        [Row(pictures)],
    )


def level_names(head: FCOSHead) -> list[str]:
    """Return what the levels are called: by their stride."""
    return [f'stride {stride[0]:g}' for stride in head.stride_pairs]


def quality_section(head: FCOSHead, sample: Sample, found: FCOSExplanation) -> Section:
    """Return the maps of the third branch, its target, and the class scores."""
    maps, truth = found.maps, found.truth
    quality = maps.levels(maps.quality.sigmoid())
    best = head._class_scores(maps.logits).amax(dim=1)
    scores = maps.levels(best)
    name = 'centre-ness' if head.box_quality == 'centerness' else 'IoU'
    frames: list[Figure] = []
    for level, (down, across) in enumerate(maps.sizes):
        stride = head.stride_pairs[level]
        size = round(down * stride[1]), round(across * stride[0])
        over = padded(sample.image, *size)
        views = [(quality[level], f'predicted {name}'), (scores[level], 'class score')]
        if truth is not None:
            target = maps.levels(truth.quality_target)[level]
            views.insert(0, (target, f'target of the {name}, points with an object'))
        frames.append(
            Row(
                [
                    HeatMap(values.cpu().numpy(), caption, over, 0.0, 1.0)
                    for values, caption in views
                ]
            )
        )
    return Section(
        f'Where does it expect good boxes? The {name}',
        f'A third branch predicts the {name} of each point. It is trained on points '
        'with an object only; what it says about background does not matter, since '
        'the class score is low there. Point at a map for its numbers.',
        [Slider('level', level_names(head), frames)],
        r'\text{centerness}^* = \sqrt{\frac{\min(l^*, r^*)}{\max(l^*, r^*)} \times '
        r'\frac{\min(t^*, b^*)}{\max(t^*, b^*)}}'
        if head.box_quality == 'centerness'
        else r'\text{IoU}(t, t^*)',
        'fcos Eq. 3' if head.box_quality == 'centerness' else 'fcos-journal',
    )


def _detection_marks(
    sample: Sample, boxes: Candidates, scores: Tensor, which: Tensor
) -> list[Mark]:
    order = scores.argsort(descending=True, stable=True)
    return [
        box_mark(
            boxes.boxes[one],
            colour(int(boxes.label[one])),
            f'{class_name(sample, boxes.label[one])}, score {scores[one]:.3f}\n'
            f'class score {boxes.cls_score[one]:.3f}, quality {boxes.quality[one]:.3f}',
            f'{class_name(sample, boxes.label[one])} {scores[one]:.2f}',
        )
        for one in order[which[order]].tolist()
    ]


def best_overlap(
    boxes: Tensor, labels: Tensor, found: FCOSExplanation
) -> Tensor | None:
    """Return each box's IoU with the best object of its class; None without truth.

    Args:
        boxes: (boxes, 4).
        labels: Their classes.
        found: Of which the truth counts.
    """
    truth = found.truth
    if truth is None or not len(truth.boxes):
        return None
    overlap = bbox_overlaps(boxes, truth.boxes)
    return torch.where(labels[:, None] == truth.labels, overlap, 0.0).amax(dim=1)


def ranking_section(head: FCOSHead, sample: Sample, found: FCOSExplanation) -> Section:
    """Return what the product with the centre-ness changes."""
    boxes = found.candidates
    kept, by_cls = boxes.removed_by == KEPT, boxes.removed_by_cls == KEPT
    name = 'centre-ness' if head.box_quality == 'centerness' else 'IoU'
    only = f'Chosen by class score alone, {sample.score_thr:g} and better.'
    both = f'Chosen by the product with the {name}, {sample.score_thr:g} and better.'
    marks = [
        _detection_marks(sample, boxes, score, which & (score >= sample.score_thr))
        for score, which in ((boxes.cls_score, by_cls), (boxes.score, kept))
    ]
    pictures: list[Figure] = [
        Picture(sample.image, f'{text} {len(shown)} boxes.', shown)
        for text, shown in zip((only, both), marks, strict=True)
    ]
    overlap = best_overlap(boxes.boxes, boxes.label, found)
    figures: list[Figure] = [Row(pictures)]
    if overlap is not None and len(overlap):
        figures.append(_plots(boxes, overlap, name))
    figures.append(_ranking_table(sample, boxes, overlap, name))
    root = score_options(head.test_cfg)['score_mode'] == 'sqrt'
    by_centre = head.box_quality == 'centerness'
    product = rf'p \cdot \text{{{"centerness" if by_centre else "IoU"}}}'
    plotted = (
        ' In the plots a good score lies on the diagonal: what lies far right and low '
        'is a confident, badly placed box.'
        if overlap is not None
        else ''
    )
    return Section(
        f'What does the product with the {name} change?',
        'A point near the edge of an object can be sure of its class and still predict '
        f'a poor box. The {name} pulls its score down, so that in the suppression the '
        f'box of a central point wins.{plotted}',
        figures,
        rf's = \sqrt{{{product}}}' if root else f's = {product}',
        'fcos "Center-ness"' if by_centre else 'fcos-journal',
    )


def _plots(boxes: Candidates, overlap: Tensor, name: str) -> Row:
    some = slice(0, MOST_POINTS)
    shades = [colour(label) for label in boxes.label[some].tolist()]
    figures: list[Figure] = []
    for score, title in (
        (boxes.cls_score, 'class score'),
        (boxes.score, f'product with the {name}'),
    ):
        texts = [
            f'{title} {x:.3f}, IoU {y:.3f}'
            for x, y in zip(score[some].tolist(), overlap[some].tolist(), strict=True)
        ]
        ground, marks = plot_marks(
            score[some].tolist(), overlap[some].tolist(), shades, texts
        )
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
    order = boxes.score.argsort(descending=True, stable=True)
    after = torch.empty_like(order)
    after[order] = torch.arange(len(order), device=order.device)
    columns = ['rank by class', 'class', 'class score', name, 'score', 'rank by score']
    columns += ['in the end'] if overlap is None else ['IoU', 'in the end']
    rows: list[list[str | float]] = []
    for one in range(min(MOST_ROWS, len(order))):
        row: list[str | float] = [
            one + 1.0,
            class_name(sample, boxes.label[one]),
            round(float(boxes.cls_score[one]), 3),
            round(float(boxes.quality[one]), 3),
            round(float(boxes.score[one]), 3),
            int(after[one]) + 1.0,
        ]
        if overlap is not None:
            row.append(round(float(overlap[one]), 3))
        rows.append([*row, _fate(int(boxes.removed_by[one]))])
    caption = (
        f'The {len(rows)} of {len(order)} candidates with the highest class score; '
        'boxes are named by that rank.'
    )
    return Table(columns, rows, caption)


def _fate(removed_by: int) -> str:
    if removed_by == KEPT:
        return 'detection'
    return 'dropped' if removed_by == DROPPED else f'removed by box {removed_by + 1}'


def suppression_section(
    head: FCOSHead, sample: Sample, found: FCOSExplanation
) -> Section:
    """Return which boxes each detection removed."""
    boxes = found.candidates
    kept = torch.nonzero(boxes.removed_by == KEPT).flatten()
    kept = kept[boxes.score[kept].argsort(descending=True, stable=True)]
    frames: list[Figure] = []
    labels: list[str] = []
    for winner in kept[:MOST_FRAMES].tolist():
        losers = torch.nonzero(boxes.removed_by == winner).flatten()
        overlap = bbox_overlaps(boxes.boxes[[winner]], boxes.boxes[losers])[0]
        name = class_name(sample, boxes.label[winner])
        marks = [
            box_mark(
                boxes.boxes[loser],
                GREY,
                f'box {loser + 1}: score {boxes.score[loser]:.3f}, '
                f'IoU with the winner {share:.2f}',
            )
            for loser, share in zip(losers.tolist(), overlap.tolist(), strict=True)
        ]
        score = f'{boxes.score[winner]:.2f}'
        text = f'box {winner + 1}, {name}, score {score}'
        marks.append(
            box_mark(
                boxes.boxes[winner],
                colour(int(boxes.label[winner])),
                text,
                f'{name} {score}',
            )
        )
        labels.append(f'{len(labels) + 1}: {name} {score}')
        caption = f'It removes {len(losers)} boxes, drawn in grey.'
        frames.append(Picture(sample.image, caption, marks))
    removed = int((boxes.removed_by >= 0).sum())
    dropped = int((boxes.removed_by == DROPPED).sum())
    limit = (head.test_cfg.get('nms') or {}).get('iou_threshold')
    return Section(
        'Which boxes does the suppression remove?',
        f'{len(boxes.label)} candidates: {len(kept)} become detections, {removed} '
        f'overlap a better box of their class by more than {limit}, and {dropped} are '
        f'dropped, there being better ones enough. Here are the {len(frames)} best '
        'detections with what each of them removed.',
        [Slider('detection', labels, frames)] if frames else [],
    )
