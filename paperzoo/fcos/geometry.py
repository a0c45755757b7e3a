"""Locations, the distances from them to the edges of a box, and centre-ness."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.errors import check_choice

# Horizontal and vertical, in pixels.
Stride = tuple[float, float]


def level_points(
    size: tuple[int, int],
    stride: Stride,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = 'cpu',
) -> Float[Tensor, 'points 2']:
    """Return where in the image the cells of a feature map look, row by row.

    Args:
        size: Height and width of the feature map.
        stride: Its horizontal and vertical stride, in pixels.
        dtype: Of the result.
        device: Of the result.

    Example:
        >>> level_points((1, 2), (8, 8)).tolist()
        [[4.0, 4.0], [12.0, 4.0]]

    Paper: fcos "Multi-level Prediction with FPN"
    Differs: the paper rounds half a stride down to whole pixels, which changes odd
        strides only.
    """
    xs, ys = (
        (torch.arange(cells, dtype=dtype, device=device) + 0.5) * step
        for cells, step in zip(reversed(size), stride, strict=True)
    )
    return torch.stack(torch.meshgrid(xs, ys, indexing='xy'), dim=-1).reshape(-1, 2)


class LevelPoints(list):
    """The points of each level, in a list that knows the grids that they form.

    It is the list of tensors (points, 2) that mmdet's `get_targets` gets. The assigner
    is faster and needs less memory if it knows rows and columns, which it could not
    find out on a GPU without waiting for it. `pyramid_points` makes it.

    Attributes:
        sizes: Height and width of each level.
    """

    sizes: list[tuple[int, int]]


def pyramid_points(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[Stride],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = 'cpu',
) -> LevelPoints:
    """Return where in the image the cells of all feature maps look.

    Args:
        sizes: Height and width of each level.
        strides: Horizontal and vertical stride of each level, in pixels.
        dtype: Of the points.
        device: Of the points.

    Example:
        >>> points = pyramid_points([(2, 4), (1, 2)], [(8, 8), (16, 16)])
        >>> [len(level) for level in points], points.sizes
        ([8, 2], [(2, 4), (1, 2)])

    Paper: fcos "Multi-level Prediction with FPN"
    """
    points = LevelPoints(
        level_points(size, stride, dtype, device)
        for size, stride in zip(sizes, strides, strict=True)
    )
    points.sizes = list(sizes)
    return points


def per_side(stride: Stride, like: Tensor) -> float | Tensor:
    """Return the stride that belongs to the maps of left, top, right and bottom.

    Args:
        stride: Horizontal and vertical, in pixels.
        like: Of the type and on the device of the maps.

    Returns:
        One number if both are equal, else (4, 1, 1).

    Example:
        >>> per_side((8, 8), torch.ones(1)), per_side((8, 4), torch.ones(1)).flatten()
        (8, tensor([8., 4., 8., 4.]))
    """
    horizontal, vertical = stride
    if horizontal == vertical:
        return horizontal
    return like.new_tensor([horizontal, vertical] * 2).view(4, 1, 1)


def encode_ltrb(
    points: Float[Tensor, '*#points 2'], boxes: Float[Tensor, '*#points 4']
) -> Float[Tensor, '... 4']:
    """Return the distances from each point to the four edges of its box.

    Args:
        points: x and y, in pixels.
        boxes: One box per point: x0, y0, x1, y1, in pixels.

    Returns:
        Distances to the left, top, right and bottom edge; all positive inside the box.

    Example:
        >>> point, box = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1.0, 9.0, 5.0])
        >>> encode_ltrb(point, box).tolist()
        [2.0, 3.0, 6.0, 1.0]

    Paper: fcos Eq. 1
    """
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)


def decode_ltrb(
    points: Float[Tensor, '*#points 2'], ltrb: Float[Tensor, '*#points 4']
) -> Float[Tensor, '... 4']:
    """Return the boxes that lie at the given distances around the points.

    Args:
        points: x and y, in pixels.
        ltrb: Distances to the left, top, right and bottom edge.

    Returns:
        x0, y0, x1, y1 of each box.

    Example:
        >>> point, ltrb = torch.tensor([3.0, 4.0]), torch.tensor([2.0, 3.0, 6.0, 1.0])
        >>> decode_ltrb(point, ltrb).tolist()
        [1.0, 1.0, 9.0, 5.0]

    Paper: fcos Eq. 1 (solved for the box)
    """
    return torch.cat((points - ltrb[..., :2], points + ltrb[..., 2:]), dim=-1)


def centerness(ltrb: Float[Tensor, '*points 4']) -> Float[Tensor, '*points']:
    """Return how central a point is in its box: 1 at the centre, 0 on an edge.

    Args:
        ltrb: Distances to the left, top, right and bottom edge; all > 0.

    Example:
        >>> centerness(torch.tensor([[5.0, 5.0, 5.0, 5.0], [1.0, 5.0, 4.0, 5.0]]))
        tensor([1.0000, 0.5000])

    Paper: fcos Eq. 3
    """
    left, top, right, bottom = ltrb.unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()


def box_areas(
    boxes: Float[Tensor, '*boxes 4'], convention: str = 'mmdet'
) -> Float[Tensor, '*boxes']:
    """Return the areas that decide between boxes.

    Args:
        boxes: x0, y0, x1, y1, in pixels.
        convention: `'mmdet'`: w h; `'authors'`: (w + 1)(h + 1), as if the last column
            and row of pixels belonged to the box.

    Raises:
        UserError: If the convention is unknown.

    Example:
        >>> box = torch.tensor([0.0, 0.0, 2.0, 3.0])
        >>> box_areas(box), box_areas(box, 'authors')
        (tensor(6.), tensor(12.))
    """
    check_choice('box_areas', 'convention', convention, ('mmdet', 'authors'))
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    if convention == 'authors':
        return (width + 1) * (height + 1)
    return width * height
