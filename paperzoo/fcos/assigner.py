"""Which box each location learns."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from paperzoo.errors import UserError, check_choice
from paperzoo.fcos.geometry import LevelPoints, Stride, box_areas
from paperzoo.registry import TASK_UTILS

# Boxes per machine word; the sign bit stays free.
WORD = 63

INF = 1e8
REGRESS_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, INF))


@TASK_UTILS.register_module()
class FCOSRangeAssigner:
    """Give each location the smallest box that it lies in and that fits its level.

    A location is a candidate for a box if it lies strictly inside it (with centre
    sampling: also near its centre) and if the largest of its four distances lies in the
    range of its pyramid level, both ends included. Of several boxes it takes the one
    with the smallest area, of equal areas the first.

    The points of a level are a grid, and each condition is about x or about y alone, or
    is the "or" of two such; so boxes are compared with columns and with rows, and a
    point combines the answers for 63 boxes, the bits of one number, in three
    operations. A point and a box cost one bit of memory.

    Args:
        regress_ranges: Smallest and largest distance of each level, in pixels.
        center_sampling: Only locations near the centre of a box are positive.
        center_sample_radius: How near, in strides of the level.
        ambiguity: Which of several boxes a location takes: the one of smallest
            `'area'`, or the one with the `'nearest'` centre, of equally near ones the
            smallest, of those the first.
        area_convention: What the area of a box is: w h (`'mmdet'`) or (w + 1)(h + 1)
            (`'authors'`). Only boxes of nearly equal area are affected.

    Raises:
        UserError: If `ambiguity` or `area_convention` is unknown, a range is not two
            numbers in their order, or the radius of centre sampling is not above 0.

    Example:
        >>> from paperzoo.fcos import pyramid_points
        >>> points = pyramid_points([(1, 4)], [(8, 8)])  # x = 4, 12, 20, 28
        >>> boxes = torch.tensor([[0.0, 0.0, 24.0, 8.0], [10.0, 0.0, 18.0, 8.0]])
        >>> FCOSRangeAssigner([(-1, 64)]).assign(points, [(8, 8)], boxes)
        tensor([1, 2, 1, 0])

    Paper: fcos "Multi-level Prediction with FPN"
    Differs: `ambiguity='nearest'` is neither in the paper nor in the authors' code. In
        the latter, centre sampling takes all positives from an image whose first box is
        centred on x = 0; here it does not.
    """

    def __init__(
        self,
        regress_ranges: Sequence[Sequence[float]] = REGRESS_RANGES,
        *,
        center_sampling: bool = False,
        center_sample_radius: float = 1.5,
        ambiguity: str = 'area',
        area_convention: str = 'mmdet',
    ) -> None:
        check_choice('FCOSRangeAssigner', 'ambiguity', ambiguity, ('area', 'nearest'))
        check_choice(
            'FCOSRangeAssigner',
            'area_convention',
            area_convention,
            ('mmdet', 'authors'),
        )
        for level, limits in enumerate(regress_ranges):
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise UserError(
                    f'FCOSRangeAssigner: regress_ranges[{level}]={limits!r} must be '
                    'two numbers, the smallest and the largest distance: (64, 128)'
                )
        if center_sampling and not center_sample_radius > 0:
            raise UserError(
                f'FCOSRangeAssigner: center_sample_radius={center_sample_radius!r} '
                'leaves no location to any box; give a number of strides above 0, '
                'such as 1.5, or set center_sampling=False'
            )
        self.regress_ranges = tuple(regress_ranges)
        self.center_sampling = center_sampling
        self.center_sample_radius = center_sample_radius
        self.ambiguity = ambiguity
        self.area_convention = area_convention

    def assign(
        self,
        points: Sequence[Float[Tensor, '_ 2']],
        strides: Sequence[Stride],
        gt_bboxes: Float[Tensor, 'boxes 4'],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Int64[Tensor, ' points']:
        """Return for each point the box it learns: 0 for none, k for box k - 1.

        Args:
            points: x and y of the points of each level, (points, 2).
            strides: Horizontal and vertical stride of each level.
            gt_bboxes: The boxes of one image, (boxes, 4), as x0, y0, x1, y1.
            sizes: Height and width of each level, whose points must then lie on a grid,
                row by row; `LevelPoints` bring them along. Without it the points may
                lie anywhere; off the CPU and under `torch.compile`, where nobody looks
                whether they are a grid, that takes longer.

        Returns:
            One number per point, levels one after the other: mmdet's `gt_inds`.

        Raises:
            UserError: If the points have another number of levels than the ranges, or
                a level another number of points than its size.
        """
        return self.assign_batch(points, strides, [gt_bboxes], sizes)[0]

    def assign_batch(
        self,
        points: Sequence[Float[Tensor, '_ 2']],
        strides: Sequence[Stride],
        gt_bboxes: Sequence[Float[Tensor, '_ 4']],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Int64[Tensor, 'images points']:
        """Return for each point of each image the box it learns, as `assign` does.

        All images go through each operation at once.

        Args:
            points: As in `assign`; those of every image.
            strides: As in `assign`.
            gt_bboxes: The boxes of each image, (boxes, 4); at least one image.
            sizes: As in `assign`.

        Raises:
            UserError: As in `assign`.

        Example:
            >>> from paperzoo.fcos import pyramid_points
            >>> points = pyramid_points([(1, 4)], [(8, 8)])  # x = 4, 12, 20, 28
            >>> boxes = [torch.tensor([[0.0, 0.0, 24.0, 8.0]]), torch.zeros(0, 4)]
            >>> FCOSRangeAssigner([(-1, 64)]).assign_batch(points, [(8, 8)], boxes)
            tensor([[1, 1, 1, 0],
                    [0, 0, 0, 0]])
        """
        # Empty boxes fill up: no point lies in one.
        boxes = pad_sequence(list(gt_bboxes), batch_first=True)
        boxes = F.pad(boxes, (0, 0, 0, WORD - boxes.size(1) % WORD))
        # Sorted by area, the box to take is the first that fits: ranks have no ties.
        areas = box_areas(boxes, self.area_convention)
        order = torch.argsort(areas, dim=1, stable=True)
        boxes = boxes.gather(1, order[..., None].expand_as(boxes))
        boxes = boxes.unflatten(1, (-1, WORD))  # (images, words, 63, 4)
        words = self._candidates(points, strides, boxes.flatten(0, 1), sizes)
        words = words.unflatten(0, boxes.shape[:2])
        none = order.size(1)
        if self.ambiguity == 'nearest':
            at = torch.cat(list(points))
            pairs = zip(boxes, words, strict=True)
            rank = torch.stack([_nearest(at, *pair, none) for pair in pairs])
        else:
            rank = first_bit(words.transpose(0, 1), none)
        # The last entry catches the points that no box fits.
        return F.pad(order + 1, (0, 1)).gather(1, rank)

    def candidates(
        self,
        points: Sequence[Float[Tensor, '_ 2']],
        strides: Sequence[Stride],
        gt_bboxes: Float[Tensor, 'boxes 4'],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Bool[Tensor, 'points boxes']:
        """Return which boxes each point could learn, (points, boxes).

        It is what `assign` chooses from, to be looked at: the answer has a byte per
        point and box. Arguments and errors are those of `assign`.
        """
        words = self._candidates(points, strides, _in_words(gt_bboxes), sizes)
        bits = unpack_bits(words).transpose(0, 1).flatten(0, 1)  # (boxes, points)
        return bits[: len(gt_bboxes)].T

    def _candidates(
        self,
        points: Sequence[Tensor],
        strides: Sequence[Stride],
        boxes: Tensor,
        sizes: Sequence[tuple[int, int]] | None,
    ) -> Tensor:
        """Return the candidates of each point of all levels as bits, (words, points).

        Args:
            points: As in `assign`.
            strides: As in `assign`.
            boxes: The boxes, (words, 63, 4).
            sizes: As in `assign`.
        """
        levels = len(self.regress_ranges)
        if len(points) != levels:
            raise UserError(
                f'regress_ranges has {levels} levels, the head {len(points)} (its '
                'strides): give one range per stride'
            )
        grids: Sequence[tuple[int, int] | None]
        if sizes is None and isinstance(points, LevelPoints):
            sizes = points.sizes
        grids = sizes or [_grid_size(level) for level in points]
        axes = [_axes(level, size) for level, size in zip(points, grids, strict=True)]
        # Points that are no grid cost several floats per box: not all boxes at once.
        parts = (boxes,) if all(grids) else boxes.split(1)
        return torch.cat([self._words(part, axes, strides) for part in parts])

    def _words(
        self,
        boxes: Tensor,
        axes: list[tuple[Tensor, Tensor]],
        strides: Sequence[Stride],
    ) -> Tensor:
        """Return the candidates of each point of all levels as bits, (words, points).

        Args:
            boxes: The boxes, (words, 63, 4).
            axes: x and y of each level, which broadcast to its points.
            strides: As in `assign`.
        """
        (xs, ys), (across, down) = zip(*axes, strict=True), zip(*strides, strict=True)
        near_x, far_x = self._along(xs, boxes[..., 0::2], across)
        near_y, far_y = self._along(ys, boxes[..., 1::2], down)
        return torch.cat(
            [
                # The larger reach is far enough if either is.
                ((fx & ny) | (nx & fy)).flatten(1)
                for nx, fx, ny, fy in zip(near_x, far_x, near_y, far_y, strict=True)
            ],
            dim=1,
        )

    def _along(
        self, at: Sequence[Tensor], edges: Tensor, strides: Sequence[float]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return for which boxes one axis is near, and for which also far enough.

        Args:
            at: Coordinates of each level along this axis, of any shape.
            edges: Start and end of each box, (words, 63, 2).
            strides: Of each level, along this axis.

        Returns:
            Twice bits for each level, (words, *shape): inside, and no edge beyond the
            largest distance; that, and the farther edge not below the smallest.
        """
        all_at = torch.cat([one.flatten() for one in at])
        low, high = (
            _spread(at, limits) for limits in zip(*self.regress_ranges, strict=True)
        )
        start, end = edges[..., None].unbind(2)  # (words, 63, 1)
        reach = torch.maximum(all_at - start, end - all_at)
        if self.center_sampling:
            radius = _spread(at, [one * self.center_sample_radius for one in strides])
            middle = (start + end) / 2
            start = torch.maximum(middle - radius, start)
            end = torch.minimum(middle + radius, end)
        near = (all_at > start) & (all_at < end) & (reach <= high)
        bits = pack_bits(near), pack_bits(near & (reach >= low))
        counts = [one.numel() for one in at]
        near_bits, far_bits = (
            [part.unflatten(1, one.shape) for part, one in zip(parts, at, strict=True)]
            for parts in (both.split(counts, dim=1) for both in bits)
        )
        return near_bits, far_bits


def _axes(points: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Return x and y, which broadcast to the points: of a grid's columns and rows."""
    if size is None:
        return points[:, 0], points[:, 1]
    if size[0] * size[1] != len(points):
        raise UserError(
            f'FCOSRangeAssigner: sizes says {size[0]} x {size[1]} for a level of '
            f'{len(points)} points; give height and width of each level'
        )
    grid = points.reshape(*size, 2)
    return grid[:1, :, 0], grid[:, :1, 1]


def _spread(at: Sequence[Tensor], values: Sequence[float]) -> Tensor:
    """Return one value per level as often as the level has coordinates."""
    # Filled on the device: a tensor made of a list would be copied to it.
    levels = zip(at, values, strict=True)
    return torch.cat([one.new_full((one.numel(),), value) for one, value in levels])


def _grid_size(points: Tensor) -> tuple[int, int] | None:
    """Return height and width of the grid that the points are, or None.

    Looking at values makes a GPU wait and breaks a compiled graph: there it is None.
    """
    if points.device.type != 'cpu' or torch.compiler.is_compiling() or not len(points):
        return None
    width = int((points[:, 1] == points[0, 1]).sum())
    if len(points) % width:
        return None
    grid = points.reshape(-1, width, 2)
    columns, rows = grid[:1, :, 0], grid[:, :1, 1]
    is_grid = (grid[..., 0] == columns).all() and (grid[..., 1] == rows).all()
    return (len(grid), width) if is_grid else None


def _in_words(boxes: Tensor) -> Tensor:
    """Return the boxes in groups of 63, filled up with empty ones, (words, 63, 4)."""
    words = len(boxes) // WORD + 1
    filled = F.pad(boxes, (0, 0, 0, words * WORD - len(boxes)))
    return filled.view(words, WORD, 4)


def _nearest(points: Tensor, boxes: Tensor, words: Tensor, none: int) -> Tensor:
    """Return which candidate's centre is nearest to each point, `none` without any.

    Args:
        points: x and y, (points, 2).
        boxes: Those to prefer among equally near ones first, (words, 63, 4).
        words: The candidates of each point as bits, (words, points).
        none: The answer without candidates.
    """
    nearest = points.new_full((len(points),), float('inf'))
    rank = torch.full_like(words[0], none)
    x, y = points.unbind(-1)
    for number, word in enumerate(words):
        middle_x, middle_y = ((boxes[number, :, :2] + boxes[number, :, 2:]) / 2).T
        squared = (x - middle_x[:, None]).square() + (y - middle_y[:, None]).square()
        squared = torch.where(unpack_bits(word), squared, float('inf'))  # (63, points)
        index = squared.argmin(dim=0)
        least = squared.gather(0, index[None])[0]
        closer = least < nearest
        rank = torch.where(closer, WORD * number + index, rank)
        nearest = torch.where(closer, least, nearest)
    return rank


def pack_bits(mask: Bool[Tensor, 'words 63 *at']) -> Int64[Tensor, 'words *at']:
    """Return the mask with the second dimension as the bits of one number.

    Example:
        >>> mask = torch.zeros(1, 63, dtype=torch.bool)
        >>> mask[0, [0, 2]] = True
        >>> pack_bits(mask)
        tensor([5])
    """
    bits = torch.arange(WORD, device=mask.device)
    weights = (1 << bits).view(-1, *[1] * (mask.dim() - 2))
    return torch.where(mask, weights, 0).sum(dim=1)


def unpack_bits(words: Int64[Tensor, '*at']) -> Bool[Tensor, '63 *at']:
    """Return the bits of each number, the lowest first.

    Example:
        >>> unpack_bits(torch.tensor(5))[:4]
        tensor([ True, False,  True, False])
    """
    bits = torch.arange(WORD, device=words.device)
    return (words >> bits.view(-1, *[1] * words.dim()) & 1).bool()


def first_bit(words: Int64[Tensor, 'words *at'], none: int) -> Int64[Tensor, '*at']:
    """Return the number of the lowest bit that is set, the words counting on.

    Args:
        words: Numbers of 63 bits, the lowest word first.
        none: The answer where no bit is set.

    Example:
        >>> first_bit(torch.tensor([[12, 0, 0], [0, 1, 0]]), 99)
        tensor([ 2, 63, 99])
    """
    first = torch.full_like(words[0], none)
    for number in reversed(range(len(words))):
        word = words[number]
        # What word & -word leaves is a power of two, 0.5 * 2^(bit + 1): exact.
        exponent = torch.frexp((word & -word).float()).exponent
        first = torch.where(word != 0, WORD * number + exponent - 1, first)
    return first
