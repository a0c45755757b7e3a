"""Soft non-maximum suppression: boxes that overlap a better one lose score.

One step depends on the one before, so this is a loop over the boxes with few vector
operations over what is left: what two boxes leave to each other is computed beforehand.
mmcv's wrapper calls it with CPU tensors only; NumPy's calls on short vectors cost a
third of PyTorch's.

Differs: mmcv takes float32 only; here half precision is computed in float32, and
float64 as it is.
"""

from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from paperzoo.errors import UserError
from paperzoo.utils.precision import at_least_float32

Kind = TypeVar('Kind', bound=np.generic)

# mmcv's numbers for the methods.
_LINEAR, _GAUSSIAN = 1, 2
# Up to so many boxes all pairs are computed at once; beyond, they would fill memory.
_ALL_PAIRS = 1024


def decay(
    best: NDArray[np.floating],
    others: NDArray[np.floating],
    method: int,
    iou_threshold: float,
    sigma: float,
    offset: int,
) -> NDArray[np.floating]:
    """Return the factor that the best box leaves to the score of each other box.

    Args:
        best: Left, top, right and bottom edge, and area, of the best box, or of several
            that are broadcast with the others.
        others: The same rows of the other boxes.
        method: 0: drop, 1: 1 - IoU, each from the threshold on; 2: exp(-IoU^2 / sigma).
        iou_threshold: Of the methods 0 and 1.
        sigma: Of the method 2.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.

    Example:
        >>> import numpy as np
        >>> from paperzoo.ops.soft_nms import decay
        >>> best = np.array([0.0, 0, 2, 2, 4])
        >>> decay(best, np.array([[0.0], [0], [2], [1], [2]]), 1, 0.3, 0.5, 0)
        array([0.5])
    """
    width = np.minimum(best[2], others[2]) - np.maximum(best[0], others[0]) + offset
    height = np.minimum(best[3], others[3]) - np.maximum(best[1], others[1]) + offset
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    iou = inter / (best[4] + others[4] - inter)
    if method == _GAUSSIAN:
        # NumPy's float32 exponential has other last bits than C's, which decide between
        # scores that are nearly equal.
        power = -(iou * iou) / others.dtype.type(sigma)
        return np.exp(power, dtype=np.float64).astype(others.dtype)
    left = 1 - iou if method == _LINEAR else np.zeros_like(iou)
    return np.where(iou >= others.dtype.type(iou_threshold), left, 1)


def soft_nms(
    boxes: Float[Tensor, 'n 4'],
    scores: Float[Tensor, ' n'],
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: int = _LINEAR,
    offset: int = 0,
) -> tuple[Int[Tensor, ' kept'], Float[Tensor, ' kept']]:
    """Return the indices of the boxes in the order they are chosen, and their scores.

    A box whose score falls below `min_score` is dropped: the last box takes its place.
    So does the box at the front when the best one is moved there. This is mmcv's order,
    which decides between equal scores.

    Args:
        boxes: Left, top, right and bottom edge of each box; computed on the CPU.
        scores: Their scores.
        iou_threshold: Overlap from which on the methods 0 and 1 lower a score.
        sigma: Of the method 2.
        min_score: Smallest score to stay.
        method: 0: drop, 1: linear, 2: gaussian, see `decay`.
        offset: 1 where edges are pixel indices, else 0.

    Example:
        >>> import torch
        >>> from paperzoo.ops.soft_nms import soft_nms
        >>> boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6]])
        >>> soft_nms(boxes, torch.tensor([0.8, 0.6, 0.4]))
        (tensor([0, 2, 1]), tensor([0.8000, 0.4000, 0.3000]))
    """
    options = method, iou_threshold, sigma, offset
    rows, points = (at_least_float32(x).detach().cpu().numpy() for x in (boxes, scores))
    with np.errstate(invalid='ignore', divide='ignore'):
        kept, found = _choose(rows, points.copy(), min_score, options)
    return from_numpy(kept), from_numpy(found)


def _choose(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    min_score: float,
    options: tuple[int, float, float, int],
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Choose box after box; `options` are those of `decay`. The scores are changed."""
    offset = options[-1]
    area = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    edges = np.concatenate((boxes.T, area[None]))
    left = np.arange(len(boxes))
    floor = scores.dtype.type(min_score)
    table = None
    if len(left) <= _ALL_PAIRS:
        table = decay(edges[:, :, None], edges[:, None], *options)
    chosen = 0
    while chosen < len(left):
        best = chosen + _highest(scores[chosen:])
        for row in (left, scores):
            row[chosen], row[best] = row[best], row[chosen]
        top, tail = left[chosen], left[chosen + 1 :]
        chosen += 1
        if table is None:
            factor = decay(edges[:, top], edges[:, tail], *options)
        else:
            factor = table[top].take(tail)
        scores[chosen:] *= factor
        low = scores[chosen:] < floor
        if low.any():
            left, scores = _without(left, low, chosen), _without(scores, low, chosen)
    return left, scores


def _highest(scores: NDArray[np.floating]) -> int:
    """Return the place of the highest score, the first of equals.

    What is not a number is passed over, unless it stands first: nothing is above it.
    """
    best = int(scores.argmax())
    if scores[best] == scores[best]:
        return best
    return 0 if np.isnan(scores[0]) else int(np.nanargmax(scores))


def _without(row: NDArray[Kind], low: NDArray[np.bool_], chosen: int) -> NDArray[Kind]:
    """Drop places behind the chosen ones, filling them from the end."""
    number = len(row) - int(low.sum())
    holes = np.flatnonzero(low[: number - chosen]) + chosen
    movers = np.flatnonzero(~low[number - chosen :]) + number
    row[holes] = row[movers[::-1]]
    return row[:number]


def soft_nms_forward(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Write the chosen boxes with their scores into `dets`; return their indices.

    Raises:
        UserError: If the boxes are integers: mmcv gives `dets` their type.
    """
    if not dets.is_floating_point():
        raise UserError(
            f'soft_nms: boxes are of {boxes.dtype}, and the scores would be rounded to '
            f'that: pass boxes.float().'
        )
    indices, found = soft_nms(
        boxes, scores, iou_threshold, sigma, min_score, method, offset
    )
    dets[: len(indices), :4] = boxes[indices].to(dets)
    dets[: len(indices), 4] = found.to(dets)
    return indices
