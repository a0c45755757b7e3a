"""What neighbours have to do with each other: in a loss, and after the suppression."""

import torch
from jaxtyping import Float, Int
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor


def neighbour_disagreement(
    boxes: Float[Tensor, 'images height width 4'],
    objects: Int[Tensor, 'images height width'],
    truth: Float[Tensor, 'images height width 4'],
) -> tuple[Float[Tensor, ''], Int[Tensor, '']]:
    """Return how far neighbours of one object disagree about its box, and their number.

    Neighbours lie beside or below each other on one level and learn the same object. Of
    each edge only the worse of the two moves, towards where the better one has it; if
    both are equally far from the truth, neither. It is the truth that says who is
    worse: this is no pull towards the mean of the neighbours.

    So the gradient at a predicted edge is 0 or has the sign of that edge's error: what
    is too short is never made shorter, which behind a ReLU ends in a distance of 0 that
    no gradient reaches.

    Args:
        boxes: Predicted boxes, x0, y0, x1, y1.
        objects: Which object a location learns, 0 for none.
        truth: The box of that object, in the unit of `boxes` and with an area; any such
            box where there is none.

    Returns:
        The sum over all pairs of neighbours and how many pairs there are. How far two
        disagree is the mean over the four edges of their distance, as a share of the
        object's width (left and right edge) or height (upper and lower edge).
    """
    total = boxes.new_zeros(())
    pairs = objects.new_zeros(())
    error = (boxes.detach() - truth).abs()
    scale = (truth[..., 2:] - truth[..., :2]).repeat(1, 1, 1, 2)
    for dim in (1, 2):
        one, other = _beside(objects, dim)
        same = (one == other) & (one > 0)
        apart = _worse_to_better(*_beside(boxes, dim), *_beside(error, dim))
        apart = (apart / _beside(scale, dim)[0]).mean(dim=-1)
        total = total + torch.where(same, apart, 0.0).sum()
        pairs = pairs + same.sum()
    return total, pairs


def _beside(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return all values but the last and all but the first of a dimension."""
    last = values.size(dim) - 1
    return values.narrow(dim, 0, last), values.narrow(dim, 1, last)


def _worse_to_better(
    one: Float[Tensor, '*pairs 4'],
    other: Float[Tensor, '*pairs 4'],
    error: Float[Tensor, '*pairs 4'],
    other_error: Float[Tensor, '*pairs 4'],
) -> Float[Tensor, '*pairs 4']:
    """Return how far edges are apart, with a gradient at the worse of the two only.

    Args:
        one: Edges of one box.
        other: Those of its neighbour.
        error: How far those of the one are from the truth, without gradient.
        other_error: Those of the neighbour. At a tie the result is 0.
    """
    moving = torch.where(error > other_error, one, other)
    aim = torch.where(error > other_error, other, one).detach()
    return torch.where(error == other_error, 0.0, (moving - aim).abs())


def vote(
    kept: Float[Tensor, 'kept 4'],
    kept_labels: Int[Tensor, ' kept'],
    boxes: Float[Tensor, 'boxes 4'],
    labels: Int[Tensor, ' boxes'],
    scores: Float[Tensor, ' boxes'],
    least_iou: float,
) -> Float[Tensor, 'kept 4']:
    """Return each kept box moved to the mean of all boxes of its class near it.

    The weight of a box is its score times its IoU with the kept one.

    Args:
        kept: What the suppression has left, x0, y0, x1, y1.
        kept_labels: Their classes.
        boxes: All candidates, the kept ones among them.
        labels: Their classes.
        scores: Their scores.
        least_iou: How much a candidate must overlap a kept box to be near it.
    """
    iou = bbox_overlaps(kept, boxes)
    near = (iou >= least_iou) & (kept_labels[:, None] == labels)
    weights = torch.where(near, iou * scores, 0.0)
    # A box without area overlaps nothing, itself neither.
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    # The mean of the moves, not of the boxes: a box alone is not even rounded.
    return kept + (weights[..., None] * (boxes - kept[:, None])).sum(dim=1)
