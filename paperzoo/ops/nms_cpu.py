"""Greedy non-maximum suppression in NumPy: few pairs of boxes, as flat vectors.

A box can only overlap boxes near it. In the order of their left edges those are a
window, found by bisection; its pairs that share no row of pixels are dropped before the
rest is computed. NumPy does this without threads: for vectors of some thousand numbers
starting these costs more than they save, above all beside other jobs.

Two ways lead to the pairs: where few boxes may overlap, all pairs are found at once;
where many may, the best boxes are settled first, which is what makes the crowded cases
of docs/ops.md faster than compiled mmcv.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

# The best boxes that are settled first and remove what they suppress.
_HEAD = 400
# With fewer possible pairs per box all are settled at once.
_PAIRS = 20
# Pairs that are computed at once: bounds the memory and stays in the cache.
_CHUNK = 1 << 14


def with_area(
    boxes: Float[ndarray, '4 n'], offset: int
) -> Float[ndarray, 'ltrb_and_area=5 n']:
    """Add the row of areas to the rows of left, top, right and bottom edges.

    Args:
        boxes: The edges, one column per box.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.

    Example:
        >>> import numpy as np
        >>> from paperzoo.ops.nms_cpu import with_area
        >>> with_area(np.array([[0.0], [0.0], [4.0], [3.0]]), offset=0)[4]
        array([12.])
    """
    left, top, right, bottom = boxes
    area = (right - left + offset) * (bottom - top + offset)
    return np.concatenate((boxes, area[None]))


def _window_pairs(
    low: Int[ndarray, ' n'], high: Int[ndarray, ' n']
) -> Iterator[tuple[Int[ndarray, ' pairs'], Int[ndarray, ' pairs']]]:
    """Yield the pairs (i, j) with low[i] <= j < high[i], by rising i, in chunks.

    Args:
        low: The first partner of each i.
        high: The one after its last partner.
    """
    counts = np.maximum(high - low, 0)
    ends = counts.cumsum()
    start, done = 0, 0
    while start < len(counts):
        # At least one i, even if its window is larger than a chunk.
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, side='right')))
        part = counts[start:stop]
        first = np.repeat(np.arange(start, stop), part)
        before = low[start:stop] - (ends[start:stop] - part)
        yield first, np.repeat(before, part) + np.arange(done, done + len(first))
        start, done = stop, int(ends[stop - 1])


def _overlapping(
    one: Float[ndarray, '5 n'],
    other: Float[ndarray, '5 m'],
    pairs: tuple[Int[ndarray, ' pairs'], Int[ndarray, ' pairs']],
    threshold: float,
    offset: int,
) -> tuple[Int[ndarray, ' hits'], Int[ndarray, ' hits']]:
    """Return the pairs whose IoU is above the threshold; 0/0 is not a number.

    The order of the operations is that of mmcv, for bit-identical decisions.

    Args:
        one: The rows of `with_area`.
        other: The same of the other boxes.
        pairs: Indices into `one` and into `other`.
        threshold: Largest IoU that is still allowed.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    first, second = pairs
    if threshold >= 0:
        shared = np.minimum(take(one[3], first), take(other[3], second))
        shared -= np.maximum(take(one[1], first), take(other[1], second))
        tall = np.flatnonzero(shared > -offset)
        first, second = first[tall], second[tall]
    rows, partners = take(one, first), take(other, second)
    size = np.minimum(rows[2:4], partners[2:4])
    size -= np.maximum(rows[:2], partners[:2])
    if offset:
        size += offset
    width, height = np.maximum(size, 0, out=size)
    inter = np.multiply(width, height, out=width)
    union = np.add(rows[4], partners[4], out=height)
    union -= inter
    hits = np.flatnonzero(np.divide(inter, union, out=inter) > threshold)
    return first[hits], second[hits]


def take(rows: ndarray, where: Int[ndarray, ' places']) -> ndarray:
    """Return the columns at some places, several times faster than by indexing.

    Args:
        rows: Numbers whose last dimension is chosen from.
        where: The places; one beyond the end counts as the last one.

    Example:
        >>> import numpy as np
        >>> from paperzoo.ops.nms_cpu import take
        >>> take(np.array([[1, 2, 3]]), np.array([2, 0]))
        array([[3, 1]])
    """
    # Any mode but the default writes straight into the result.
    return rows.take(where, axis=-1, mode='clip')


def _reach(
    boxes: Float[ndarray, '5 n'], threshold: float, offset: int
) -> tuple[Float[ndarray, ' n'], Float[ndarray, ' n']]:
    """Return between which left edges all boxes lie that a box can overlap enough.

    For an IoU above t the width of both is above t times the width of either. So a box
    further right begins within 1 - t of this width, and one further left within 1 - t
    of its own width, which is at most 1 / t of this one.

    Args:
        boxes: The rows of `with_area`.
        threshold: Largest IoU that is still allowed.
        offset: 1 where edges are pixel indices, else 0.
    """
    left = boxes[0].astype(np.float64)
    width = boxes[2] - left + offset
    if threshold < 0:
        return np.full_like(left, -math.inf), np.full_like(left, math.inf)
    # In float64, with room for the rounding of the float32 IoU: of a box inside another
    # one it may be above t although the left edges are 1 - t of the width apart.
    room = 1e-5 * (np.abs(width) + 1)
    right = left + width * (1 - threshold) + room
    if threshold == 0:
        return np.full_like(left, -math.inf), right
    return left - (width * (1 - threshold) + room) / threshold, right


def _has_few_pairs(
    by_left: Float[ndarray, '5 n'], threshold: float, offset: int
) -> bool:
    """Return whether so few boxes may overlap that no box need be settled first.

    Every tenth box says how many there are. This decides about the time only.

    Args:
        by_left: The rows of `with_area`, by rising left edges.
        threshold: Largest IoU that is still allowed.
        offset: 1 where edges are pixel indices, else 0.
    """
    some = np.arange(0, by_left.shape[1], 10)
    end = by_left[0].searchsorted(_reach(take(by_left, some), threshold, offset)[1])
    return bool(np.maximum(end - some - 1, 0).sum() <= _PAIRS * len(some))


def suppressed_by(
    best: Float[ndarray, '5 n'],
    others: Float[ndarray, '5 m'],
    threshold: float,
    offset: int,
) -> Iterator[tuple[Int[ndarray, ' hits'], Int[ndarray, ' hits']]]:
    """Yield the pairs of `best` and `others` that overlap, by rising first index.

    Args:
        best: The rows of `with_area`.
        others: The same, by their left edges.
        threshold: Largest IoU that is still allowed.
        offset: 1 where edges are pixel indices, else 0.

    Example:
        >>> import numpy as np
        >>> from paperzoo.ops.nms_cpu import suppressed_by, with_area
        >>> boxes = with_area(np.array([[0.0, 1], [0, 0], [4, 5], [4, 4]]), 0)
        >>> ((best, other),) = suppressed_by(boxes[:, :1], boxes, 0.5, 0)
        >>> best, other
        (array([0, 0]), array([0, 1]))
    """
    low, high = (others[0].searchsorted(x) for x in _reach(best, threshold, offset))
    for pairs in _window_pairs(low, high):
        yield _overlapping(best, others, pairs, threshold, offset)


def _keep_of_pairs(
    better: Int[ndarray, ' pairs'], worse: Int[ndarray, ' pairs'], number: int
) -> Bool[ndarray, ' number']:
    """Return which boxes greedy suppression keeps.

    In each round the boxes without a better one that is left are kept for good, and
    what they suppress is dropped, with all its pairs.

    Args:
        better: The better box of each pair that overlaps; boxes are numbered by score.
        worse: The other box of each pair.
        number: How many boxes there are.
    """
    keep = np.ones(number, dtype=bool)
    while len(better):
        free = np.ones(number, dtype=bool)
        free[worse] = False
        keep[worse[free[better]]] = False
        still = keep[better] & keep[worse]
        better, worse = better[still], worse[still]
    return keep


def keep_sorted(
    boxes: Float[ndarray, '5 n'], threshold: float, offset: int
) -> Int[ndarray, ' kept']:
    """Return the positions that greedy suppression keeps, the best box first.

    Where many boxes may overlap, the best ones are settled first: what they suppress
    is never compared with each other.

    Args:
        boxes: The rows of `with_area`, the best box first.
        threshold: Largest IoU that is still allowed.
        offset: 1 where edges are pixel indices, else 0.

    Example:
        >>> import numpy as np
        >>> from paperzoo.ops.nms_cpu import keep_sorted, with_area
        >>> boxes = with_area(np.array([[0.0, 1], [0, 0], [4, 5], [4, 4]]), 0)
        >>> keep_sorted(boxes, 0.5, 0)
        array([0])
    """
    position = np.arange(boxes.shape[1])
    kept = [position[:0]]
    while len(position):
        order = boxes[0].argsort()
        by_left = take(boxes, order)
        if len(order) <= _HEAD or _has_few_pairs(by_left, threshold, offset):
            begin = np.arange(1, len(order) + 1)
            end = by_left[0].searchsorted(_reach(by_left, threshold, offset)[1])
            hits = [
                np.stack(_overlapping(by_left, by_left, pairs, threshold, offset))
                for pairs in _window_pairs(begin, end)
            ]
            one, other = order[np.concatenate(hits, axis=1)]
            better, worse = np.minimum(one, other), np.maximum(one, other)
            kept.append(position[_keep_of_pairs(better, worse, len(order))])
            break
        head = keep_sorted(boxes[:, :_HEAD], threshold, offset)
        kept.append(position[head])
        free = np.arange(len(order)) >= _HEAD
        rest = order[free[order]]
        best, others = take(boxes, head), take(boxes, rest)
        for _, hit in suppressed_by(best, others, threshold, offset):
            free[rest[hit]] = False
        left = np.flatnonzero(free)
        boxes, position = take(boxes, left), position[left]
    return np.concatenate(kept)
