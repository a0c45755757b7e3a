"""What the annotations make of an FCOS head's points: targets, choices, losses."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperzoo.explain.fcos.trace_detections import (
    Candidates,
    Maps,
    candidates_of,
    maps_of,
)
from paperzoo.fcos.assigner import INF, FCOSRangeAssigner
from paperzoo.fcos.geometry import centerness, decode_ltrb, encode_ltrb
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.losses import aligned_iou_union
from paperzoo.utils.errors import UserError


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
    """What each object costs; row 0 is the background, row k is box k - 1.

    Args:
        cls: Class loss of the object's points, all classes.
        bbox: Box loss.
        centerness: Loss of the centre-ness, or of the IoU.
        points: How many points the object has.
    """

    cls: Float[Tensor, ' rows']
    bbox: Float[Tensor, ' rows']
    centerness: Float[Tensor, ' rows']
    points: Int[Tensor, ' rows']


@dataclass(frozen=True)
class Truth:
    """What the annotations make of the points.

    Args:
        boxes: The objects, in the pixels of the input.
        labels: Their classes.
        assignment: The head's own.
        variants: By (with ranges, with centre sampling), all else as in the head.
        quality_target: What the third branch should predict; NaN on background.
        losses: Per object; they add up to the losses of the head.
    """

    boxes: Float[Tensor, 'boxes 4']
    labels: Int[Tensor, ' boxes']
    assignment: Assignment
    variants: dict[tuple[bool, bool], Assignment]
    quality_target: Float[Tensor, ' points']
    losses: Losses


def truth_of(head: FCOSHead, maps: Maps, boxes: Tensor, labels: Tensor) -> Truth:
    """Return what the annotations make of the points.

    Args:
        head: The head.
        maps: Its predictions.
        boxes: The objects, (boxes, 4).
        labels: Their classes.
    """
    assignment = assign(head, head.assigner, maps, boxes)
    goal = _rows(head, maps, boxes, assignment.gt_inds).goal
    return Truth(
        boxes=boxes,
        labels=labels,
        assignment=assignment,
        variants={
            key: assign(head, assigner, maps, boxes)
            for key, assigner in variants_of(head.assigner).items()
        },
        quality_target=torch.where(assignment.gt_inds > 0, goal, torch.nan),
        losses=losses_per_object(head, maps, boxes, labels, assignment.gt_inds),
    )


def assign(
    head: FCOSHead, assigner: FCOSRangeAssigner, maps: Maps, boxes: Tensor
) -> Assignment:
    """Return which box each point learns with an assigner.

    Paper: fcos "Multi-level Prediction with FPN"
    """
    points = list(maps.points.split([height * width for height, width in maps.sizes]))
    arguments = (points, head.stride_pairs, boxes, maps.sizes)
    return Assignment(assigner.assign(*arguments), assigner.candidates(*arguments))


def variants_of(
    assigner: FCOSRangeAssigner,
) -> dict[tuple[bool, bool], FCOSRangeAssigner]:
    """Return the assigner by (with ranges, with centre sampling), all else its own."""
    every_size = [(-1, INF)] * len(assigner.regress_ranges)
    return {
        (ranges, sampling): FCOSRangeAssigner(
            assigner.regress_ranges if ranges else every_size,
            center_sampling=sampling,
            center_sample_radius=assigner.center_sample_radius,
            ambiguity=assigner.ambiguity,
            area_convention=assigner.area_convention,
        )
        for ranges in (True, False)
        for sampling in (False, True)
    }


@dataclass(frozen=True)
class _Rows:
    """What the box losses of a head compare, one row per point.

    Args:
        pred: Predicted boxes; a unit box on background.
        target: The boxes of the objects; a unit box on background.
        goal: What the third branch should predict; 0 on background.
    """

    pred: Float[Tensor, 'points 4']
    target: Float[Tensor, 'points 4']
    goal: Float[Tensor, ' points']


def _rows(head: FCOSHead, maps: Maps, boxes: Tensor, gt_inds: Tensor) -> _Rows:
    there = (gt_inds > 0)[:, None]
    padded = torch.cat((boxes.new_zeros(1, 4), boxes))
    unit = _units(head, maps)
    pred = torch.where(there, maps.ltrb / unit, 1.0)
    true = torch.where(there, encode_ltrb(maps.points, padded[gt_inds]) / unit, 1.0)
    pred_boxes, target = decode_ltrb(maps.points, pred), decode_ltrb(maps.points, true)
    if head.box_quality == 'iou':
        goal, _ = aligned_iou_union(pred_boxes, target, smooth=head.smooth_iou)
    else:
        goal = centerness(true)
    return _Rows(pred_boxes, target, goal * there.squeeze(1))


def _units(head: FCOSHead, maps: Maps) -> Tensor | float:
    """Return what distances are measured in for the losses: pixels or strides."""
    if not head.norm_on_bbox:
        return 1.0
    return torch.cat(
        [
            maps.ltrb.new_tensor(stride * 2).expand(height * width, 4)
            for (height, width), stride in zip(
                maps.sizes, head.stride_pairs, strict=True
            )
        ]
    )


def losses_per_object(
    head: FCOSHead, maps: Maps, boxes: Tensor, labels: Tensor, gt_inds: Tensor
) -> Losses:
    """Return the losses of all points, added up by the object that each one learns.

    Args:
        head: The head.
        maps: Its predictions.
        boxes: The objects, (boxes, 4).
        labels: Their classes.
        gt_inds: Which object each point learns, 0 for none.

    Paper: fcos Eq. 2
    """
    rows = _rows(head, maps, boxes, gt_inds)
    positive = (gt_inds > 0).to(rows.goal.dtype)
    number = positive.sum()
    classes = torch.cat((labels.new_full((1,), head.num_classes), labels))[gt_inds]
    all_points = number.new_full((), len(gt_inds))
    cls = head.loss_cls(maps.logits, classes, reduction_override='none')
    by_quality = head.box_quality == 'centerness'
    weight = rows.goal if by_quality else positive
    of_boxes = weight.sum().clamp(min=1e-6) if by_quality else number.clamp(min=1.0)
    bbox = head.loss_bbox(
        rows.pred, rows.target, weight=weight, reduction_override='none'
    )
    quality = head.loss_centerness(
        maps.quality, rows.goal, weight=positive, reduction_override='none'
    )

    def per_object(loss: Tensor, divisor: Tensor) -> Tensor:
        # The head's losses divide with the same guard against zero.
        share = loss.flatten(1).sum(dim=1) if loss.dim() > 1 else loss
        share = share / (divisor + torch.finfo(torch.float32).eps)
        return share.new_zeros(len(boxes) + 1).index_add(0, gt_inds, share)

    return Losses(
        cls=per_object(cls, head.cls_normalizer(number, all_points)),
        bbox=per_object(bbox, of_boxes),
        centerness=per_object(quality, number.clamp(min=1.0)),
        points=torch.bincount(gt_inds, minlength=len(boxes) + 1),
    )


@dataclass(frozen=True)
class FCOSExplanation:
    """Everything; `truth` is None where the image has no annotations."""

    maps: Maps
    candidates: Candidates
    truth: Truth | None


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
    maps = maps_of(head, detector.extract_feat(sample.inputs))
    shape = sample.data_sample.img_shape[:2]
    truth = None
    if sample.annotated:
        objects = sample.data_sample.gt_instances
        truth = truth_of(head, maps, objects.bboxes, objects.labels)
    return FCOSExplanation(maps, candidates_of(head, maps, shape), truth)
