"""The overlap of boxes: intersection over union, or over the first box's area.

Differs: mmcv computes half precision boxes in half precision; here in float32.
"""

from jaxtyping import Float
from torch import Tensor

from paperzoo.utils.precision import at_least_float32


def box_overlaps(
    first: Float[Tensor, '*#pairs 4'],
    second: Float[Tensor, '*#pairs 4'],
    over_union: bool,
    offset: int,
) -> Float[Tensor, '*pairs']:
    """Return the overlap of boxes (left, top, right, bottom) with broadcasting.

    0/0, the overlap of empty boxes, is not a number.

    Args:
        first: The boxes.
        second: The other boxes.
        over_union: Divide by the area of the union, else by that of the first box.
        offset: Added to each width and height: 1 where edges are pixel indices, else 0.
    """
    left1, top1, right1, bottom1 = first.unbind(-1)
    left2, top2, right2, bottom2 = second.unbind(-1)
    # In place: a matrix of pairs is written once per step, not allocated.
    width = right1.minimum(right2).sub_(left1.maximum(left2))
    height = bottom1.minimum(bottom2).sub_(top1.maximum(top2))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    area = (right1 - left1 + offset) * (bottom1 - top1 + offset)
    if over_union:
        area = area + (right2 - left2 + offset) * (bottom2 - top2 + offset)
        area = area.sub_(inter)
    return inter.div_(area) if inter.is_floating_point() else inter / area


def bbox_overlaps(
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
    first, second = at_least_float32(bboxes1), at_least_float32(bboxes2)
    first = first if aligned else first[:, None]
    ious.copy_(box_overlaps(first, second, mode == 0, offset))
