"""Non-maximum suppression that tells which kept box suppressed each box."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from paperzoo.ops import nms_cpu
from paperzoo.utils.precision import at_least_float32


def nms_match(
    boxes: Float[Tensor, 'n 4'], scores: Float[Tensor, ' n'], iou_threshold: float
) -> list[Int[Tensor, ' group']]:
    """Return the indices of each kept box and those it suppresses, by falling score.

    Args:
        boxes: Left, top, right and bottom edge of each box.
        scores: The box with the highest score is always kept.
        iou_threshold: Unlike in `nms`, an overlap equal to it suppresses.

    Example:
        >>> import torch
        >>> from paperzoo.ops.nms_match import nms_match
        >>> boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
        >>> nms_match(boxes, torch.tensor([0.5, 0.9, 0.7]), iou_threshold=0.5)
        [tensor([1, 0]), tensor([2])]
    """
    if len(boxes) == 0:
        return []
    order = scores.contiguous().sort(descending=True)[1].cpu()  # as mmcv
    boxes = at_least_float32(boxes).detach().cpu()
    rows = nms_cpu.take(boxes.numpy().T, order.numpy())
    # "At least t" is "above the number before t".
    below = float(
        np.nextafter(rows.dtype.type(iou_threshold), rows.dtype.type(-math.inf))
    )
    with np.errstate(all='ignore'):
        rows = nms_cpu.with_area(rows, 0)
        kept = nms_cpu.keep_sorted(rows, below, 0)
        by_left = rows[0].argsort()
        owner = np.zeros(len(order), dtype=np.int64)
        hits = nms_cpu.suppressed_by(
            nms_cpu.take(rows, kept), nms_cpu.take(rows, by_left), below, 0
        )
        # The best one that overlaps a box owns it: it is written last.
        for best, other in reversed(list(hits)):
            owner[by_left[other[::-1]]] = best[::-1]
    # An empty box does not overlap even itself.
    owner[kept] = np.arange(len(kept))
    members = torch.from_numpy(owner.argsort(kind='stable'))
    return list(order[members].split(np.bincount(owner).tolist()))


def nms_match_forward(
    dets: Num[Tensor, 'n 5'], iou_threshold: float
) -> list[list[int]]:
    """Return the groups of boxes with scores as mmcv wants them: lists of indices."""
    dets = dets if dets.is_floating_point() else dets.float()
    groups = nms_match(dets[:, :4], dets[:, 4], iou_threshold)
    return [group.tolist() for group in groups]
