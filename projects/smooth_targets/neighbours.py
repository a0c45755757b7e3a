"""What neighbours have to do with each other: in a loss, and after the suppression."""

import torch
from jaxtyping import Float, Int
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor


def neighbour_disagreement(
    boxes: Float[Tensor, 'images height width 4'],
    objects: Int[Tensor, 'images height width'],
    truth: Float[Tensor, 'images height width 4'],
    least_iou: float = 0.5,
) -> tuple[Float[Tensor, ''], Int[Tensor, '']]:
    """Return how far neighbours of one object disagree about its box, and their number.

    Neighbours lie beside or below each other on one level, and both have found their
    object. How far two disagree is the mean over the four edges of their distance, as a
    share of the object's width (left and right edge) or height (upper and lower edge).

    Args:
        boxes: Predicted boxes, x0, y0, x1, y1.
        objects: Which object a location learns, 0 for none.
        truth: The box of that object, with an area; any where there is none.
        least_iou: A location has found its object if its box overlaps the truth so
            much.

    Returns:
        The sum over all pairs of neighbours, and how many pairs there are.
    """
    total = boxes.new_zeros(())
    pairs = objects.new_zeros(())
    scale = (truth[..., 2:] - truth[..., :2]).repeat(1, 1, 1, 2)
    found = bbox_overlaps(boxes.detach(), truth, is_aligned=True) >= least_iou
    for dim in (1, 2):
        last = boxes.size(dim) - 1
        one, other = objects.narrow(dim, 0, last), objects.narrow(dim, 1, last)
        same = (one == other) & (one > 0)
        same &= found.narrow(dim, 0, last) & found.narrow(dim, 1, last)
        moved = boxes.narrow(dim, 0, last) - boxes.narrow(dim, 1, last)
        apart = (moved.abs() / scale.narrow(dim, 0, last)).mean(dim=-1)
        total = total + torch.where(same, apart, 0.0).sum()
        pairs = pairs + same.sum()
    return total, pairs


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
