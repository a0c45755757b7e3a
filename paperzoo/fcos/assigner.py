"""Which box each location learns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.registry import TASK_UTILS

INF = 1e8
REGRESS_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, INF))


@TASK_UTILS.register_module()
class FCOSRangeAssigner:
    """Give each location the smallest box that it lies in and that fits its level.

    A location is a candidate for a box if it lies strictly inside it (with centre
    sampling: also near its centre) and if the largest of its four distances lies in the
    range of its pyramid level, both ends included. Of several boxes it takes the one
    with the smallest area, of equal areas the first.

    Args:
        regress_ranges: Smallest and largest distance of each level, in pixels.
        center_sampling: Only locations near the centre of a box are positive.
        center_sample_radius: How near, in strides of the level.
        chunk: How many boxes are compared with all points at once. It bounds the
            memory; the result does not depend on it.

    Paper: fcos "Multi-level Prediction with FPN"
    Differs: the authors measure the area as (w + 1)(h + 1); here it is w h, as in
        mmdet. Only boxes of nearly equal area are affected.
    """

    def __init__(
        self,
        regress_ranges: Sequence[Sequence[float]] = REGRESS_RANGES,
        *,
        center_sampling: bool = False,
        center_sample_radius: float = 1.5,
        chunk: int = 64,
    ) -> None:
        self.regress_ranges = tuple(regress_ranges)
        self.center_sampling = center_sampling
        self.center_sample_radius = center_sample_radius
        self.chunk = chunk

    def assign(
        self,
        points: Sequence[Tensor],
        strides: Sequence[tuple[float, float]],
        gt_bboxes: Tensor,
    ) -> Tensor:
        """Return for each point the box it learns: 0 for none, k for box k - 1.

        Args:
            points: x and y of the points of each level, (points, 2).
            strides: Horizontal and vertical stride of each level.
            gt_bboxes: The boxes of one image, (boxes, 4), as x0, y0, x1, y1.

        Returns:
            One number per point, levels one after the other: mmdet's `gt_inds`.

        Raises:
            UserError: If the points have another number of levels than the ranges.
        """
        if len(points) != len(self.regress_ranges):
            raise UserError(
                f'regress_ranges has {len(self.regress_ranges)} levels, the head '
                f'{len(points)} (its strides): give one range per stride'
            )
        widths, heights = (gt_bboxes[:, 2:] - gt_bboxes[:, :2]).unbind(-1)
        # Sorted by area, the box to take is the first that fits: ranks have no ties.
        order = torch.argsort(widths * heights, stable=True)
        by_area = gt_bboxes[order]
        first = [
            self._first_fitting(level_points, stride, low, high, by_area)
            for level_points, stride, (low, high) in zip(
                points, strides, self.regress_ranges, strict=True
            )
        ]
        # The last entry catches the points that no box fits.
        numbers = torch.cat((order + 1, order.new_zeros(1)))
        return numbers[torch.cat(first)]

    def _first_fitting(
        self,
        points: Tensor,
        stride: tuple[float, float],
        low: float,
        high: float,
        boxes: Tensor,
    ) -> Tensor:
        """Return the first box that fits each point, len(boxes) where none does."""
        none = len(boxes)
        ranks = torch.arange(none, device=boxes.device)
        first = torch.full((len(points),), none, device=boxes.device)
        for start in range(0, none, self.chunk):
            part = slice(start, start + self.chunk)
            fits = self._fits(points, stride, low, high, boxes[part])
            first = torch.minimum(
                first, torch.where(fits, ranks[part], none).amin(dim=1)
            )
        return first

    def _fits(
        self,
        points: Tensor,
        stride: tuple[float, float],
        low: float,
        high: float,
        boxes: Tensor,
    ) -> Tensor:
        """Return which boxes are candidates for which points, (points, boxes)."""
        inside_x, reach_x = self._along(points[:, 0], boxes[:, 0::2], stride[0])
        inside_y, reach_y = self._along(points[:, 1], boxes[:, 1::2], stride[1])
        farthest = torch.maximum(reach_x, reach_y)
        return inside_x & inside_y & (farthest >= low) & (farthest <= high)

    def _along(self, at: Tensor, edges: Tensor, stride: float) -> tuple[Tensor, Tensor]:
        """Return what one axis says: near enough, and the larger distance to an edge.

        Args:
            at: Coordinate of each point.
            edges: Start and end of each box, (boxes, 2).
            stride: Of the level, along this axis.
        """
        at = at[:, None]
        start, end = edges.unbind(-1)
        reach = torch.maximum(at - start, end - at)
        if self.center_sampling:
            middle = (start + end) / 2
            radius = stride * self.center_sample_radius
            start = torch.maximum(middle - radius, start)
            end = torch.minimum(middle + radius, end)
        return (at > start) & (at < end), reach
