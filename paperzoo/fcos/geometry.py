"""Locations, the distances from them to the edges of a box, and centre-ness."""

import torch
from jaxtyping import Float
from torch import Tensor


def level_points(
    size: tuple[int, int],
    stride: tuple[float, float],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = 'cpu',
) -> Float[Tensor, 'points 2']:
    """Return where in the image the cells of a feature map look, row by row.

    Args:
        size: Height and width of the feature map.
        stride: Its horizontal and vertical stride, in pixels.
        dtype: Of the result.
        device: Of the result.

    Paper: fcos "Multi-level Prediction with FPN"
    Differs: the paper rounds half a stride down to whole pixels, which changes odd
        strides only.
    """
    xs, ys = (
        (torch.arange(cells, dtype=dtype, device=device) + 0.5) * step
        for cells, step in zip(reversed(size), stride, strict=True)
    )
    return torch.stack(torch.meshgrid(xs, ys, indexing='xy'), dim=-1).reshape(-1, 2)


def encode_ltrb(
    points: Float[Tensor, '*points 2'], boxes: Float[Tensor, '*points 4']
) -> Float[Tensor, '*points 4']:
    """Return the distances from each point to the four edges of its box.

    Args:
        points: x and y, in pixels.
        boxes: One box per point: x0, y0, x1, y1, in pixels.

    Returns:
        Distances to the left, top, right and bottom edge; all positive inside the box.

    Paper: fcos Eq. 1
    """
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)


def decode_ltrb(
    points: Float[Tensor, '*points 2'], ltrb: Float[Tensor, '*points 4']
) -> Float[Tensor, '*points 4']:
    """Return the boxes that lie at the given distances around the points.

    Args:
        points: x and y, in pixels.
        ltrb: Distances to the left, top, right and bottom edge.

    Returns:
        x0, y0, x1, y1 of each box.

    Paper: fcos Eq. 1 (solved for the box)
    """
    return torch.cat((points - ltrb[..., :2], points + ltrb[..., 2:]), dim=-1)


def centerness(ltrb: Float[Tensor, '*points 4']) -> Float[Tensor, '*points']:
    """Return how central a point is in its box: 1 at the centre, 0 on an edge.

    Args:
        ltrb: Distances to the left, top, right and bottom edge; all > 0.

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
    """
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    if convention == 'authors':
        return (width + 1) * (height + 1)
    return width * height
