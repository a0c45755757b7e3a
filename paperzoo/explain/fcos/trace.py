"""What an FCOS detector did with an image, recorded while it did it."""

from dataclasses import dataclass
from enum import IntEnum
from math import isclose
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from paperzoo.errors import UserError
from paperzoo.explain.recording import Call, record, redefined
from paperzoo.fcos.assigner import FCOSRangeAssigner
from paperzoo.fcos.geometry import LevelPoints, pyramid_points
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.post_processing import suppressed_by
from paperzoo.fcos.target_counts import variants_of


@dataclass(frozen=True)
class Maps:
    """What the head predicts at every point of every level.

    Args:
        points: x and y in the pixels of the input, levels one after the other.
        sizes: Height and width of each level.
        scores: Probabilities of the classes.
        quality: Predicted centre-ness (or IoU).
    """

    points: Float[Tensor, 'points 2']
    sizes: list[tuple[int, int]]
    scores: Float[Tensor, 'points classes']
    quality: Float[Tensor, ' points']

    def levels(self, values: Tensor) -> list[Tensor]:
        """Return one value per point as a map per level, (height, width)."""
        parts = values.split([height * width for height, width in self.sizes])
        return [part.view(*size) for part, size in zip(parts, self.sizes, strict=True)]


class Fate(IntEnum):
    """What became of a candidate: the key of `test_cfg` that removed it, if any did."""

    NMS_PRE, MIN_BBOX_SIZE, NMS, MAX_PER_IMG, DETECTION = range(5)


@dataclass(frozen=True)
class Candidates:
    """All boxes whose score is above the threshold, the best class score first.

    Args:
        point: Where each was predicted.
        label: Its class.
        boxes: In the pixels of the input.
        cls_score: Probability of the class.
        quality: Predicted centre-ness (or IoU).
        score: What they make together.
        fate: What became of it, a `Fate`.
        removed_by: Of those that the suppression removed, for which better box; else
            -1.
        detections: Those that are left, in the head's order.
        by_cls: Those that were left, had the class score alone decided.
    """

    point: Int[Tensor, ' boxes']
    label: Int[Tensor, ' boxes']
    boxes: Float[Tensor, 'boxes 4']
    cls_score: Float[Tensor, ' boxes']
    quality: Float[Tensor, ' boxes']
    score: Float[Tensor, ' boxes']
    fate: Int[Tensor, ' boxes']
    removed_by: Int[Tensor, ' boxes']
    detections: Int[Tensor, ' kept']
    by_cls: Int[Tensor, ' kept_by_cls']


@dataclass(frozen=True)
class Assignment:
    """Which box each point learns, and between which boxes it had to choose.

    Args:
        gt_inds: 0 for none, k for box k - 1.
        candidates: The boxes that each point could learn.
    """

    gt_inds: Int[Tensor, ' points']
    candidates: Bool[Tensor, 'points boxes']

    @property
    def ambiguous(self) -> Bool[Tensor, ' points']:
        """The points that lie in more than one box of their level's range."""
        return self.candidates.sum(dim=1) > 1

    @property
    def learnable(self) -> Bool[Tensor, ' boxes']:
        """The boxes that a point could learn: what can be recalled at best."""
        return self.candidates.any(dim=0)


@dataclass(frozen=True)
class Losses:
    """The loss of the image, and whose it is.

    Args:
        terms: By loss what each row of `owners` costs: background, the objects, other
            targets. Empty if the head's `loss_by_feat` is a subclass's own.
        rest: By name what is not in the terms: losses that the model adds or changes.
        total: The model's own sum of all its losses.
    """

    terms: dict[str, Float[Tensor, ' rows']]
    rest: dict[str, float]
    total: float


@dataclass(frozen=True)
class Truth:
    """What the annotations make of the points.

    Args:
        boxes: The objects, in the pixels of the input.
        labels: Their classes.
        assignment: The choice of the head's assigner.
        variants: By (with ranges, with centre sampling), all else as in the head.
        owners: What the points had to learn in the loss: 0 for nothing, k for box
            k - 1, one more than there are boxes for a class that is not the assigner's
            choice: then a subclass made other targets.
        ltrb: The distances that they had to learn, in pixels; 0 on background.
        quality_target: What the third branch should predict; NaN on background.
        losses: Of the model.
    """

    boxes: Float[Tensor, 'boxes 4']
    labels: Int[Tensor, ' boxes']
    assignment: Assignment
    variants: dict[tuple[bool, bool], Assignment]
    owners: Int[Tensor, ' points']
    ltrb: Float[Tensor, 'points 4']
    quality_target: Float[Tensor, ' points']
    losses: Losses


@dataclass(frozen=True)
class FCOSExplanation:
    """Everything.

    Args:
        maps: What the head predicts at every point.
        predictions: `bboxes`, `scores`, `labels` that the model predicts, in the pixels
            of the input.
        candidates: What they were chosen from; None if a subclass chooses in its own
            way.
        truth: None where the image has no annotations.
        redefined: A sentence on methods that subclasses redefine, or nothing.
    """

    maps: Maps
    predictions: InstanceData
    candidates: Candidates | None
    truth: Truth | None
    redefined: str


@torch.no_grad()
def explain(model: nn.Module, sample: Any) -> FCOSExplanation:
    """Return what a detector with an FCOS head does with an image.

    Args:
        model: The detector, in evaluation mode.
        sample: `inputs` (1, 3, H, W), `data_sample` and `annotated`, of
            `paperzoo.explain.sample`.

    Raises:
        UserError: If the head has another assigner than FCOSRangeAssigner.
    """
    detector: Any = model
    head: FCOSHead = detector.bbox_head
    if not isinstance(head.assigner, FCOSRangeAssigner):
        raise UserError(
            f'model.bbox_head.assigner is {type(head.assigner).__name__}: what is '
            'explained here is FCOSRangeAssigner; leave out `assigner`'
        )
    # A copy, for the predictions are put into it.
    data = sample.data_sample.clone()
    with record(detector, 'bbox_head.forward', 'bbox_head.candidates') as calls:
        (found,) = detector.predict(sample.inputs, [data], rescale=False)
    maps = _maps(head, *calls['bbox_head.forward'][-1].result)
    chosen = calls['bbox_head.candidates']
    losses = (head.loss_cls, head.loss_bbox, head.loss_centerness)
    return FCOSExplanation(
        maps=maps,
        predictions=found.pred_instances,
        candidates=_candidates(head, maps, chosen[-1], data.metainfo)
        if chosen
        else None,
        truth=_truth(detector, maps, sample) if sample.annotated else None,
        redefined=redefined(head, head.assigner, *losses),
    )


def _maps(
    head: FCOSHead, scores: list[Tensor], distances: list[Tensor], quality: list[Tensor]
) -> Maps:
    sizes = [(level.size(-2), level.size(-1)) for level in distances]
    points = pyramid_points(sizes, head.stride_pairs, device=distances[0].device)
    logits = torch.cat([level[0].flatten(1).T for level in scores])
    return Maps(
        points=torch.cat(list(points)),
        sizes=sizes,
        scores=head.class_scores(logits),
        quality=torch.cat([level[0].flatten() for level in quality]).sigmoid(),
    )


def _candidates(
    head: FCOSHead, maps: Maps, call: Call, meta: dict
) -> Candidates | None:
    """Return all candidates, and what became of each; None if nobody can tell.

    The head's own functions are asked once more, each time with one limit less.

    Args:
        head: The head.
        maps: Its predictions.
        call: That of `candidates` in the prediction.
        meta: Of the image.
    """
    given, cfg = call.args[:-1], call.args[-1]
    unlimited = ConfigDict({**cfg, 'nms_pre': maps.scores.numel()})
    ask: Any = head.candidates
    everything, among = ask(*given, unlimited).alone(), call.result.alone()
    point, passed = everything.points, among.points
    classes = maps.scores.size(1)
    passed = torch.isin(
        point * classes + everything.labels, passed * classes + among.labels
    )
    cls_score = maps.scores[point, everything.labels]
    results = InstanceData(
        bboxes=everything.bboxes,
        scores=everything.scores,
        labels=everything.labels,
        number=torch.arange(len(point), device=point.device),
    )[passed]

    left = _left(head, results, cls_score[passed], cfg, meta)
    if left is None:
        return None
    *limits, by_cls = left
    fate = torch.full_like(point, Fate.NMS_PRE)
    for number, others in enumerate((results.number, *limits), 1):
        fate[others] = number
    kept = torch.searchsorted(results.number, limits[1])
    boxes = results.bboxes, results.scores, results.labels
    winner = suppressed_by(*boxes, kept, cfg.get('nms'))
    removed_by = torch.full_like(point, -1)
    removed_by[results.number] = torch.where(winner < 0, -1, results.number[winner])
    removed_by[fate != Fate.NMS] = -1
    order = cls_score.sort(descending=True, stable=True).indices
    # The last place is that of -1.
    rank = torch.cat((order.argsort(), order.new_tensor([-1])))
    return Candidates(
        point=point[order],
        label=everything.labels[order],
        boxes=everything.bboxes[order],
        cls_score=cls_score[order],
        quality=maps.quality[point[order]],
        score=everything.scores[order],
        fate=fate[order],
        removed_by=rank[removed_by[order]],
        detections=rank[limits[-1]],
        by_cls=rank[by_cls],
    )


def _left(
    head: FCOSHead, results: InstanceData, cls_score: Tensor, cfg: Any, meta: dict
) -> list[Tensor] | None:
    """Return the numbers of the candidates that the head's own function leaves.

    Returns:
        Four answers: after `min_bbox_size`, after the suppression, after `max_per_img`,
        and after all of them had the class score alone decided. None if a subclass
        makes boxes of which nobody can tell from which candidates they come.
    """
    by_cls = results.clone()
    by_cls.scores = cls_score
    unlimited = ConfigDict({**cfg, 'max_per_img': max(len(results), 1)})
    left = [
        head._bbox_post_process(asked.clone(), limits, False, with_nms, meta)
        for asked, limits, with_nms in (
            (results, cfg, False),
            (results, unlimited, True),
            (results, cfg, True),
            (by_cls, cfg, True),
        )
    ]
    return (
        [one.number for one in left] if all('number' in one for one in left) else None
    )


def _truth(model: Any, maps: Maps, sample: Any) -> Truth:
    """Return what the annotations make of the points, and the model's own loss."""
    head: FCOSHead = model.bbox_head
    objects = sample.data_sample.gt_instances
    boxes, labels = get_box_tensor(objects.bboxes), objects.labels
    points = pyramid_points(maps.sizes, head.stride_pairs, device=boxes.device)
    methods = ('loss_by_feat', 'get_targets', 'losses')
    # Only the head itself: its parts, such as norms, are those of the evaluation.
    mode, head.training = head.training, True
    try:
        with record(model, *(f'bbox_head.{name}' for name in methods)) as calls:
            losses = model.loss(sample.inputs, [sample.data_sample])
            if not calls['bbox_head.get_targets']:
                head.get_targets(points, [objects])
    finally:
        head.training = mode
    by_head, targets, reduced = (calls[f'bbox_head.{name}'] for name in methods)
    classes, ltrb = map(torch.cat, targets[-1].result)
    assignment = _assign(head, head.assigner, points, boxes)
    positive = (classes >= 0) & (classes < head.num_classes)
    choice = assignment.gt_inds
    agreed = torch.cat((labels.new_full((1,), -1), labels))[choice] == classes
    owners = torch.where(agreed, choice, len(boxes) + 1) * positive
    goal, terms = torch.full_like(ltrb[:, 0], torch.nan), {}
    if reduced:
        (inputs,) = reduced[-1].args
        goal = torch.where(positive, inputs['loss_centerness'].target, torch.nan)
        terms = {
            name: one.new_zeros(len(boxes) + 2).index_add(0, owners, one)
            for name, one in head.losses(inputs, per_location=True).items()
            if name in inputs
        }
    return Truth(
        boxes=boxes,
        labels=labels,
        assignment=assignment,
        variants={
            key: _assign(head, assigner, points, boxes)
            for key, assigner in variants_of(head.assigner).items()
        },
        owners=owners,
        ltrb=ltrb * head.units(points) if head.norm_on_bbox else ltrb,
        quality_target=goal,
        losses=_losses(model, losses, by_head[-1].result if by_head else {}, terms),
    )


def _assign(
    head: FCOSHead, assigner: FCOSRangeAssigner, points: LevelPoints, boxes: Tensor
) -> Assignment:
    given = (points, head.stride_pairs, boxes)
    return Assignment(assigner.assign(*given), assigner.candidates(*given))


def _losses(
    model: Any, losses: dict, by_head: dict, terms: dict[str, Tensor]
) -> Losses:
    """Return the terms, and by name what the model's losses are beyond them.

    Args:
        model: The detector.
        losses: What its `loss` returned.
        by_head: What the head's `loss_by_feat` returned to it.
        terms: By loss, what each object costs.
    """
    total, values = model.parse_losses(losses)
    _, values_of_head = model.parse_losses(by_head) if by_head else (0, {})
    rest = {}
    for name in dict.fromkeys((*terms, *values)):
        if name == 'loss' or 'loss' not in name:
            continue
        value = float(values.get(name, 0.0))
        known = float(terms[name].sum()) if name in terms else 0.0
        if name in terms and _same(value, known):
            continue
        own = _same(float(values_of_head.get(name, torch.inf)), value)
        who = type(model.bbox_head if own else model).__name__
        done = 'changed' if name in terms else 'added'
        rest[f'{name}, {done} by {who}'] = value - known
    return Losses(terms, rest, float(total))


def _same(one: float, other: float) -> bool:
    both_nan = one != one and other != other
    return both_nan or isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
