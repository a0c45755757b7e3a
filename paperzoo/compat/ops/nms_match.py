"""Non-maximum suppression that tells which kept box suppressed each box."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops.nms import keep_sorted, overlap, with_area
from paperzoo.compat.ops.widen import wide

# Boxes that are compared with all kept ones at once: bounds the memory.
_CHUNK = 1024


def matched_groups(
    boxes: Float[Tensor, 'n 4'], scores: Float[Tensor, ' n'], iou_threshold: float
) -> list[Int[Tensor, ' group']]:
    """Return the indices of each kept box and those it suppresses, by falling score.

    Unlike in `nms`, an overlap equal to the threshold suppresses.
    """
    order = scores.contiguous().sort(descending=True)[1]  # as mmcv
    boxes = with_area(boxes[order].T.contiguous(), 0)
    # "At least t" is "above the number before t".
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype)
    below = torch.nextafter(
        threshold, torch.tensor(-math.inf, dtype=boxes.dtype)
    ).item()
    kept = keep_sorted(boxes, below, 0)
    best = boxes[:, kept]
    owner = torch.cat(
        [
            # Of equal numbers `argmax` takes the first: the best kept box.
            overlap(best[:, :, None], chunk[:, None], 0).gt_(below).argmax(dim=0)
            for chunk in boxes.split(_CHUNK, dim=1)
        ]
    )
    # An empty box does not overlap even itself.
    owner[kept] = torch.arange(len(kept), device=kept.device)
    members = owner.argsort(stable=True)
    return list(order[members].split(torch.bincount(owner).tolist()))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return the groups of boxes with scores (n, 5) as lists of indices."""
    dets = wide(dets)
    if len(dets) == 0:
        return []
    groups = matched_groups(dets[:, :4], dets[:, 4], iou_threshold)
    return [group.tolist() for group in groups]
