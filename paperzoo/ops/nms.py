"""Greedy non-maximum suppression (NMS), with exactly the decisions of its definition.

On a GPU torchvision's compiled operator decides where it can (it has no offset);
otherwise `nms_cpu` does, after a copy of the boxes: how many boxes are kept must be
known on the CPU in any case.
"""

import numpy as np
import torch
from jaxtyping import Int, Num
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.ops import nms_cpu
from paperzoo.ops.torchvision_ops import call_torchvision


def nms(
    boxes: Num[Tensor, 'n 4'],
    scores: Num[Tensor, ' scores'],
    iou_threshold: float,
    offset: int = 0,
) -> Int[Tensor, ' kept']:
    """Return the indices of the kept boxes, by falling score.

    Boxes with equal scores go in the order of PyTorch's sort, as in mmcv.

    Args:
        boxes: Left, top, right and bottom edge of each box; half precision and
            integers are computed in float32.
        scores: The box with the highest score is always kept.
        iou_threshold: A box that overlaps a kept one by more than this is dropped.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.

    Raises:
        UserError: If there are not as many scores as boxes.

    Example:
        >>> import torch
        >>> from paperzoo.ops.nms import nms
        >>> boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), iou_threshold=0.5)
        tensor([1, 2])
    """
    if len(boxes) != len(scores):
        raise UserError(f'nms: {len(boxes)} boxes, but {len(scores)} scores')
    order = scores.sort(descending=True)[1]  # as mmcv: decides between equal scores
    if not boxes.dtype.is_floating_point or boxes.dtype.itemsize < 4:
        boxes = boxes.float()  # half precision would change decisions
    boxes = boxes.detach()
    if boxes.is_cuda and offset == 0:
        # In our order and with falling numbers as scores, equal scores do not matter.
        falling = torch.arange(len(order), 0, -1, device=boxes.device).to(boxes)
        found = call_torchvision('nms', boxes[order], falling, iou_threshold)
        if found is not None:
            return order[found]
    # One copy down, and one up that nobody waits for.
    best = boxes.index_select(0, order).T.contiguous().cpu().numpy()
    with np.errstate(all='ignore'):
        rows = nms_cpu.with_area(best, offset)
        kept = nms_cpu.keep_sorted(rows, iou_threshold, offset)
    return order[torch.from_numpy(kept).to(order.device, non_blocking=True)]
