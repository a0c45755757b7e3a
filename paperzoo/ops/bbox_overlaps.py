"""The overlap of boxes: intersection over union, or over the first box's area.

Differs: mmcv computes half precision boxes in half precision; here in float32.
"""

from typing import Literal

from jaxtyping import Float, Num
from torch import Tensor

from paperzoo.utils.precision import at_least_float32


def bbox_overlaps(
    bboxes1: Num[Tensor, '*#pairs 4'],
    bboxes2: Num[Tensor, '*#pairs 4'],
    mode: Literal['iou', 'iof'] = 'iou',
    offset: int = 0,
) -> Float[Tensor, '*pairs']:
    """Return the overlap of boxes (left, top, right, bottom) with broadcasting.

    0/0, the overlap of empty boxes, is not a number.

    Args:
        bboxes1: The boxes; half precision is computed in float32.
        bboxes2: The other boxes.
        mode: Divide by the area of the union (`'iou'`) or of the first box (`'iof'`).
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.

    Example:
        >>> import torch
        >>> from paperzoo.ops.bbox_overlaps import bbox_overlaps
        >>> bboxes1 = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
        >>> bbox_overlaps(bboxes1[:, None], torch.tensor([[0.0, 0, 2, 1]]))
        tensor([[0.5000],
                [0.5000]])
    """
    first, second = at_least_float32(bboxes1), at_least_float32(bboxes2)
    left1, top1, right1, bottom1 = first.unbind(-1)
    left2, top2, right2, bottom2 = second.unbind(-1)
    # In place: a matrix of pairs is written once per step, not allocated.
    width = right1.minimum(right2).sub_(left1.maximum(left2))
    height = bottom1.minimum(bottom2).sub_(top1.maximum(top2))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    area = (right1 - left1 + offset) * (bottom1 - top1 + offset)
    if mode == 'iou':
        area = area + (right2 - left2 + offset) * (bottom2 - top2 + offset)
        area = area.sub_(inter)
    return inter.div_(area) if inter.is_floating_point() else inter / area


def bbox_overlaps_forward(
    bboxes1: Tensor,
    bboxes2: Tensor,
    ious: Tensor,
    mode: int,
    aligned: bool,
    offset: int,
) -> None:
    """Write the overlaps of pairs (`aligned`) or of all with all; mode 0 is IoU.

    mmcv makes `ious` of the boxes' type: of integer boxes they are rounded to 0 or 1.
    """
    first = bboxes1 if aligned else bboxes1[:, None]
    ious.copy_(bbox_overlaps(first, bboxes2, 'iof' if mode else 'iou', offset))
