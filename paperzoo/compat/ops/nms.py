"""Greedy non-maximum suppression, with exactly the decisions of its definition."""

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

# Solved together as one small matrix; larger heads compare more boxes that are already
# suppressed, smaller ones need more rounds.
_HEAD = 256
# Boxes of the tail that are compared at once: bounds the memory and stays in the cache.
_CHUNK = 1024


def with_area(
    boxes: Float[Tensor, '4 n'], offset: int
) -> Float[Tensor, 'ltrb_and_area=5 n']:
    """Add the row of areas to the rows of left, top, right and bottom edges."""
    left, top, right, bottom = boxes
    area = (right - left + offset) * (bottom - top + offset)
    return torch.cat((boxes, area[None]))


def suppression(
    first: Float[Tensor, '5 m'],
    second: Float[Tensor, '5 n'],
    threshold: float,
    offset: int,
) -> Float[Tensor, 'm n']:
    """Return 1 where the overlap (IoU) of two boxes is above the threshold, else 0.

    The order of the operations is that of mmcv, for bit-identical decisions. Where the
    IoU is 0/0 (two empty boxes) nothing is suppressed.

    Args:
        first: The rows of `with_area`.
        second: The same of the other boxes.
        threshold: Largest IoU that is still allowed.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    left1, top1, right1, bottom1, area1 = first[:, :, None].unbind()
    left2, top2, right2, bottom2, area2 = second.unbind()
    width = torch.minimum(right1, right2).sub_(torch.maximum(left1, left2))
    height = torch.minimum(bottom1, bottom2).sub_(torch.maximum(top1, top2))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return inter.div_((area1 + area2).sub_(inter)).gt_(threshold)


def keep_of_few(
    boxes: Float[Tensor, '5 n'], threshold: float, offset: int
) -> Bool[Tensor, ' n']:
    """Return which boxes greedy suppression keeps, the best box first.

    A box is kept if no kept box before it suppresses it. Repeating that rule for all
    boxes at once, from "all are kept", settles at least one more box in each round, so
    the first repetition that changes nothing is the answer of the greedy algorithm.
    """
    suppress = suppression(boxes, boxes, threshold, offset).triu_(diagonal=1)
    keep = torch.ones_like(suppress[0])
    while True:
        # Counting by a matrix product is several times faster than `any` of booleans.
        now = (keep @ suppress).eq_(0)
        if torch.equal(now, keep):
            return keep > 0
        keep = now


def keep_sorted(
    boxes: Float[Tensor, '5 n'], threshold: float, offset: int
) -> Int[Tensor, ' kept']:
    """Return the positions that greedy suppression keeps, the best box first."""
    position = torch.arange(boxes.size(1), device=boxes.device)
    kept = [position[:0]]
    while position.numel() > 0:
        head = keep_of_few(boxes[:, :_HEAD], threshold, offset).nonzero().squeeze(1)
        kept.append(position[head])
        best, boxes, position = boxes[:, head], boxes[:, _HEAD:], position[_HEAD:]
        free = [
            suppression(best, chunk, threshold, offset).sum(dim=0) == 0
            for chunk in boxes.split(_CHUNK, dim=1)
        ]
        left = torch.cat(free).nonzero().squeeze(1)
        boxes, position = boxes.index_select(1, left), position[left]
    return torch.cat(kept)


def nms(
    boxes: Num[Tensor, 'n 4'],
    scores: Float[Tensor, ' n'],
    iou_threshold: float,
    offset: int,
) -> Int[Tensor, ' kept']:
    """Return the indices of the kept boxes, by falling score.

    Of boxes with equal scores the earlier one goes first.

    Args:
        boxes: Left, top, right and bottom edge of each box.
        scores: The box with the highest score is always kept.
        iou_threshold: A box that overlaps a kept one by more than this is dropped.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    order = scores.argsort(descending=True, stable=True)
    if not boxes.dtype.is_floating_point or boxes.dtype.itemsize < 4:
        boxes = boxes.float()  # half precision would change decisions
    by_score = boxes[order].T.contiguous()
    return order[keep_sorted(with_area(by_score, offset), iou_threshold, offset)]
