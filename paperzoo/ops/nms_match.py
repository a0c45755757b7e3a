"""Non-maximum suppression that tells which kept box suppressed each box."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops import nms_cpu
from paperzoo.utils.precision import at_least_float32


def matched_groups(
    boxes: Float[Tensor, 'n 4'], scores: Float[Tensor, ' n'], iou_threshold: float
) -> list[Int[Tensor, ' group']]:
    """Return the indices of each kept box and those it suppresses, by falling score.

    Unlike in `nms`, an overlap equal to the threshold suppresses.
    """
    order = scores.contiguous().sort(descending=True)[1].cpu()  # as mmcv
    rows = nms_cpu.take(boxes.detach().cpu().numpy().T, order.numpy())
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


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return the groups of boxes with scores (n, 5) as lists of indices."""
    dets = at_least_float32(dets) if dets.is_floating_point() else dets.float()
    if len(dets) == 0:
        return []
    groups = matched_groups(dets[:, :4], dets[:, 4], iou_threshold)
    return [group.tolist() for group in groups]
