"""Overlaps of rotated boxes, and non-maximum suppression with them.

Two boxes share a convex polygon. Its corners are where their edges cross, and the
corners of one that lie in the other.

Differs: mmcv computes in float32 and loses corners of boxes that nearly coincide; here
it is float64 with a tolerance. Its CPU kernel of the suppression forgets the labels.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Pairs that are computed at once: bounds the memory.
_CHUNK = 1 << 15
# mmcv's: a smaller box overlaps nothing.
_NO_AREA = 1e-14
# How far, of an edge's length, a point still counts as on it.
_TOLERANCE = 1e-9
_IOF = 1


def rotated_overlaps(
    boxes: Float[Tensor, 'pairs 5'],
    others: Float[Tensor, 'pairs 5'],
    of_first: bool = False,
) -> Float[Tensor, ' pairs']:
    """Return the overlap of each pair of boxes: intersection over union.

    Args:
        boxes: Centre (x, y), width, height, and angle in radians, which turns the x
            axis to the y axis.
        others: As many boxes.
        of_first: Divide by the area of the first box instead.

    Example:
        >>> import torch
        >>> from paperzoo.ops.rotated_boxes import rotated_overlaps
        >>> box = torch.tensor([[0.0, 0, 2, 2, 0]])
        >>> turned = torch.tensor([[0.0, 0, 2, 2, torch.pi / 4]])
        >>> rotated_overlaps(box, turned)  # an octagon
        tensor([0.7071])
    """
    one, other = boxes[:, :5].double(), others[:, :5].double()
    areas = one[:, 2] * one[:, 3], other[:, 2] * other[:, 3]
    apart = (one[:, :2] - other[:, :2]).norm(dim=1)
    reach = (one[:, 2:4].norm(dim=1) + other[:, 2:4].norm(dim=1)) / 2
    near = (apart <= reach) & (areas[0] >= _NO_AREA) & (areas[1] >= _NO_AREA)
    shared = torch.zeros_like(apart)
    for some in near.nonzero().flatten().split(_CHUNK):
        shared[some] = _intersection(one[some], other[some])
    whole = areas[0] if of_first else areas[0] + areas[1] - shared
    return torch.where(near, shared / whole, 0).to(boxes.dtype)


def _corners(boxes: Float[Tensor, 'pairs 5']) -> Float[Tensor, 'pairs 4 2']:
    """Return the four corners in turn."""
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    along = torch.stack((cos, sin), dim=1) * boxes[:, 2:3] / 2
    across = torch.stack((-sin, cos), dim=1) * boxes[:, 3:4] / 2
    offsets = (-along - across, along - across, along + across, across - along)
    return boxes[:, None, :2] + torch.stack(offsets, dim=1)


def _cross(
    one: Float[Tensor, '*#points 2'], other: Float[Tensor, '*#points 2']
) -> Float[Tensor, '*#points']:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


def _inside(
    points: Float[Tensor, 'pairs 4 2'], boxes: Float[Tensor, 'pairs 5']
) -> Bool[Tensor, 'pairs 4']:
    """Return which points lie in the box."""
    cos, sin = boxes[:, 4, None].cos(), boxes[:, 4, None].sin()
    x, y = (points - boxes[:, None, :2]).unbind(dim=2)
    along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
    wide, high = (boxes[:, 2:4].abs() * (0.5 + _TOLERANCE)).unsqueeze(2).unbind(dim=1)
    return (along <= wide) & (across <= high)


def _intersection(
    one: Float[Tensor, 'pairs 5'], other: Float[Tensor, 'pairs 5']
) -> Float[Tensor, ' pairs']:
    """Return the area of what the boxes of each pair share."""
    # Far from the origin the differences would be rounded.
    middle = (one[:, :2] + other[:, :2]) / 2
    one, other = (torch.cat((x[:, :2] - middle, x[:, 2:]), 1) for x in (one, other))
    first, second = _corners(one), _corners(other)
    edge = (first.roll(-1, 1) - first)[:, :, None]
    with_edge = (second.roll(-1, 1) - second)[:, None]
    between = second[:, None] - first[:, :, None]
    turn = _cross(edge, with_edge)
    crossing = turn.abs() > _NO_AREA
    turn = torch.where(crossing, turn, 1)
    on_first = _cross(between, with_edge) / turn
    on_second = _cross(between, edge) / turn
    for share in (on_first, on_second):
        crossing &= (share >= -_TOLERANCE) & (share <= 1 + _TOLERANCE)
    crossings = first[:, :, None] + on_first[..., None] * edge
    points = torch.cat((crossings.flatten(1, 2), first, second), dim=1)
    there = (crossing.flatten(1), _inside(first, other), _inside(second, one))
    return _convex_area(points, torch.cat(there, dim=1))


def _convex_area(
    points: Float[Tensor, 'pairs points 2'], there: Bool[Tensor, 'pairs points']
) -> Float[Tensor, ' pairs']:
    """Return the area of the convex polygon whose corners are the points that count."""
    number = there.sum(dim=1)
    kept = torch.where(there[..., None], points, 0)
    centre = kept.sum(dim=1) / number.clamp(min=1)[:, None]
    # What does not count lies on a point that does, and adds no area.
    first = points.gather(1, there.int().argmax(1)[:, None, None].expand(-1, 1, 2))
    spokes = torch.where(there[..., None], points, first) - centre[:, None]
    order = torch.atan2(spokes[..., 1], spokes[..., 0]).argsort(dim=1)
    spokes = spokes.gather(1, order[..., None].expand_as(spokes))
    area = _cross(spokes, spokes.roll(-1, 1)).sum(dim=1) / 2
    return torch.where(number > 2, area.clamp(min=0), 0)


def keep_rotated(
    boxes: Float[Tensor, 'boxes 5'],
    order: Int[Tensor, ' boxes'],
    threshold: float,
    labels: Tensor | None = None,
) -> Int[Tensor, ' kept']:
    """Return which boxes greedy suppression keeps, the best one first.

    Args:
        boxes: Centre, width, height and angle.
        order: The boxes by falling score.
        threshold: IoU from which on a box is suppressed by a better one.
        labels: Boxes of different ones do not suppress each other.

    Example:
        >>> import torch
        >>> from paperzoo.ops.rotated_boxes import keep_rotated
        >>> rows = [[0.0, 0, 4, 2, 0], [0, 0, 4, 2, 0.1], [9, 9, 4, 2, 0]]
        >>> keep_rotated(torch.tensor(rows), torch.tensor([1, 2, 0]), threshold=0.5)
        tensor([1, 2])
    """
    kept, left = [order[:0]], order
    while len(left):
        best, rest = left[:1], left[1:]
        kept.append(best)
        overlap = rotated_overlaps(boxes[best].expand(len(rest), -1), boxes[rest])
        # As mmcv compares: in float32, the threshold too.
        remove = overlap >= torch.tensor(threshold, dtype=torch.float32).item()
        if labels is not None:
            remove &= labels[rest] == labels[best]
        left = rest[~remove]
    return torch.cat(kept)


def box_iou_rotated(
    boxes1: Tensor,
    boxes2: Tensor,
    ious: Tensor,
    mode_flag: int,
    aligned: bool,
) -> None:
    """Write the overlap of each pair, or of all boxes with all others, row by row.

    Example:
        >>> import torch
        >>> from paperzoo.ops.rotated_boxes import box_iou_rotated
        >>> box, overlaps = torch.tensor([[0.0, 0, 4, 2, 0.3]]), torch.zeros(1)
        >>> box_iou_rotated(box, box, overlaps, mode_flag=0, aligned=True)
        >>> overlaps
        tensor([1.])
    """
    if aligned:
        ious.copy_(rotated_overlaps(boxes1, boxes2, mode_flag == _IOF))
        return
    table = ious.view(len(boxes1), len(boxes2))
    for row, box in zip(table, boxes1, strict=True):
        alike = box.expand(len(boxes2), -1)
        row.copy_(rotated_overlaps(alike, boxes2, mode_flag == _IOF))


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    multi_label: int,
) -> Tensor:
    """Return the numbers of the boxes that are kept, the best one first.

    With `multi_label` the label of each box is its sixth number.

    Example:
        >>> import torch
        >>> from paperzoo.ops.rotated_boxes import nms_rotated
        >>> dets, scores = torch.ones(2, 5), torch.tensor([0.2, 0.9])
        >>> order = scores.argsort(descending=True)
        >>> nms_rotated(dets, scores, order, dets[order], None, 0.5, multi_label=0)
        tensor([1])
    """
    own = dets[:, 5] if multi_label else None
    return keep_rotated(dets[:, :5], order, iou_threshold, own)
