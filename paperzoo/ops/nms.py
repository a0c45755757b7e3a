"""Greedy non-maximum suppression, with exactly the decisions of its definition.

On a CPU `nms_cpu` does the work; what is here besides the entry point is for a GPU.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from paperzoo.ops import nms_cpu

# Solved together as one small matrix; larger heads compare more boxes that are already
# suppressed, smaller ones need more rounds.
_HEAD = 256
# Numbers in a matrix of comparisons: bounds the memory and stays in the cache.
_CHUNK = 1 << 17
# Boxes, from left to right, that are compared with equally many partners.
_BLOCK = 1024
# Up to this many possible partners per box, or this share of all boxes, all are
# compared at once; with more, the best boxes first remove what they suppress.
_PARTNERS = 128
_SHARE = 1 / 32


def with_area(
    boxes: Float[Tensor, '4 n'], offset: int
) -> Float[Tensor, 'ltrb_and_area=5 n']:
    """Add the row of areas to the rows of left, top, right and bottom edges."""
    left, top, right, bottom = boxes
    area = (right - left + offset) * (bottom - top + offset)
    return torch.cat((boxes, area[None]))


def overlap(
    first: Float[Tensor, '5 *#pairs'], second: Float[Tensor, '5 *#pairs'], offset: int
) -> Float[Tensor, '*pairs']:
    """Return the IoU of boxes; 0/0 (two empty boxes) is not a number.

    The order of the operations is that of mmcv, for bit-identical decisions.

    Args:
        first: The rows of `with_area`.
        second: The same of the other boxes; the two are broadcast.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    size = torch.minimum(first[2:4], second[2:4])
    size.sub_(torch.maximum(first[:2], second[:2]))
    if offset:
        size.add_(offset)
    width, height = size.clamp_(min=0)
    inter = width.mul_(height)
    union = torch.add(first[4], second[4], out=height).sub_(inter)
    return inter.div_(union)


def keep_of_few(
    boxes: Float[Tensor, '5 n'], threshold: float, offset: int
) -> Bool[Tensor, ' n']:
    """Return which boxes greedy suppression keeps, the best box first.

    A box is kept if no kept box before it suppresses it. Repeating that rule for all
    boxes at once, from "all are kept", settles at least one more box in each round, so
    the first repetition that changes nothing is the answer of the greedy algorithm.
    """
    iou = overlap(boxes[:, :, None], boxes[:, None], offset)
    suppress = iou.gt_(threshold).triu_(diagonal=1)
    keep = torch.ones_like(suppress[0])
    while True:
        # Counting by a matrix product is several times faster than `any` of booleans.
        now = (keep @ suppress).eq_(0)
        if torch.equal(now, keep):
            return keep > 0
        keep = now


def partners(
    boxes: Float[Tensor, '5 n'], threshold: float, offset: int
) -> tuple[Int[Tensor, ' n'], list[int]]:
    """Return the boxes' order from left to right, and how far to the right they reach.

    In that order, only the next few boxes can overlap a box by more than the threshold
    t: no IoU is above shared width / own width, so the left edges are apart by less
    than (1 - t) of the width. There is one number for each `_BLOCK` of boxes.
    """
    left, order = boxes[0].sort()
    number = len(order)
    if threshold < 0:
        return order, [number] * -(-number // _BLOCK)
    # In float64, with room for the rounding of the float32 IoU.
    right = boxes[2, order].double().add_(offset)
    left = left.double()
    width = right - left
    room = width.abs().add_(1).mul_(1e-5)
    ends = _counts_below(left, right.sub_(width.mul_(threshold)).add_(room))
    reach = ends - torch.arange(1, number + 1, device=ends.device)
    padded = F.pad(reach, (0, -number % _BLOCK)).view(-1, _BLOCK)
    return order, padded.amax(dim=1).clamp_(min=0).tolist()


def _counts_below(
    values: Float[Tensor, ' n'], limits: Float[Tensor, ' n']
) -> Int[Tensor, ' n']:
    """Return how many values are below each limit.

    `searchsorted` would do, but starts threads for a few hundred values.
    """
    merged = torch.cat((limits, values)).argsort(stable=True)
    values_so_far = (merged >= len(limits)).cumsum(0)
    return torch.empty_like(merged).scatter_(0, merged, values_so_far)[: len(limits)]


def overlapping_pairs(
    boxes: Float[Tensor, '5 n'],
    order: Int[Tensor, ' n'],
    longest: list[int],
    threshold: float,
    offset: int,
) -> tuple[Int[Tensor, ' pairs'], Int[Tensor, ' pairs']]:
    """Return which boxes suppress which, as pairs of the better and the worse one.

    Args:
        boxes: The best box first.
        order: Their order from left to right.
        longest: With how many to its right each box of a block is compared.
        threshold: Largest IoU that is still allowed.
        offset: 1 where edges are pixel indices, else 0.
    """
    # The last ones are compared with boxes that are not a number: never suppressed.
    table = F.pad(boxes.index_select(1, order), (0, max(longest)), value=math.nan)
    pairs = [order.new_zeros(2, 0)]
    for block, partner_number in enumerate(longest):
        end = min((block + 1) * _BLOCK, len(order))
        step = max(1, _CHUNK // max(1, partner_number))
        for start in range(block * _BLOCK, end, step) if partner_number else ():
            stop = min(start + step, end)
            # Row g of the matrix: all boxes and their partners g + 1 further right.
            windows = table[:, start + 1 : stop + partner_number]
            windows = windows.unfold(1, stop - start, 1)
            hits = overlap(table[:, None, start:stop], windows, offset).gt(threshold)
            gap, first = hits.nonzero().unbind(1)
            pairs.append(torch.stack((first + start, first + gap + (start + 1))))
    one, other = order[torch.cat(pairs, dim=1)]
    return torch.minimum(one, other), torch.maximum(one, other)


def keep_of_pairs(
    better: Int[Tensor, ' pairs'], worse: Int[Tensor, ' pairs'], number: int
) -> Bool[Tensor, ' number']:
    """Return which boxes greedy suppression keeps.

    In each round the boxes without a better one that is left are kept for good, and
    what they suppress is dropped, with all its pairs.
    """
    keep = torch.ones(number, dtype=torch.bool, device=better.device)
    while better.numel() > 0:
        free = torch.ones_like(keep).index_fill_(0, worse, False)
        keep.index_fill_(0, worse[free[better]], False)
        open_pairs = (keep[better] & keep[worse]).nonzero().squeeze(1)
        better, worse = better[open_pairs], worse[open_pairs]
    return keep


def keep_sorted(
    boxes: Float[Tensor, '5 n'], threshold: float, offset: int
) -> Int[Tensor, ' kept']:
    """Return the positions that greedy suppression keeps, the best box first.

    How many boxes are left decides what is done next: on a GPU the host waits for it.
    """
    position = torch.arange(boxes.size(1), device=boxes.device)
    kept = [position[:0]]
    while position.numel() > 0:
        number = position.numel()
        order, longest = partners(boxes, threshold, offset)
        if sum(longest) * _BLOCK <= max(_PARTNERS, _SHARE * number) * number:
            pairs = overlapping_pairs(boxes, order, longest, threshold, offset)
            return torch.cat((*kept, position[keep_of_pairs(*pairs, number)]))
        head = keep_of_few(boxes[:, :_HEAD], threshold, offset).nonzero().squeeze(1)
        kept.append(position[head])
        best, boxes, position = boxes[:, head], boxes[:, _HEAD:], position[_HEAD:]
        free = [
            overlap(best[:, :, None], chunk[:, None], offset).gt_(threshold).sum(0) == 0
            for chunk in boxes.split(max(1, _CHUNK // _HEAD), dim=1)
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

    Boxes with equal scores go in the order of PyTorch's sort, as in mmcv.

    Args:
        boxes: Left, top, right and bottom edge of each box.
        scores: The box with the highest score is always kept.
        iou_threshold: A box that overlaps a kept one by more than this is dropped.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    order = scores.sort(descending=True)[1]  # as mmcv: decides between equal scores
    if not boxes.dtype.is_floating_point or boxes.dtype.itemsize < 4:
        boxes = boxes.float()  # half precision would change decisions
    if boxes.device.type != 'cpu':
        by_score = boxes[order].T.contiguous()
        return order[keep_sorted(with_area(by_score, offset), iou_threshold, offset)]
    ranks = order.numpy()
    with np.errstate(all='ignore'):
        rows = nms_cpu.take(boxes.detach().numpy().T, ranks)
        rows = nms_cpu.with_area(rows, offset)
        kept = nms_cpu.keep_sorted(rows, iou_threshold, offset)
    return torch.from_numpy(ranks[kept])
