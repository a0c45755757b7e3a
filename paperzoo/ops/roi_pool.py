"""RoIPool, forward and backward: the largest pixel in each bin of a RoI.

Differs: mmcv's kernel (CUDA only) leaves 0 as the place of the maximum of a RoI without
size, so its gradient goes to the first pixel; here it goes nowhere. A pixel that is not
a number makes the maximum not a number. Half precision RoIs are computed in float32.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops import roi_common as common
from paperzoo.utils.precision import at_least_float32

# Numbers that are gathered at once: bounds the memory.
_CHUNK = 1 << 20
_NOWHERE = -1


def roi_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Float[Tensor, 'rois channels bins_y bins_x']:
    """Return the largest pixel in each bin of each RoI; 0 in an empty bin.

    The arguments are those of mmcv. The result can be differentiated for the image.

    Args:
        image: The batch of images.
        rois: Image index, left, top, right and bottom edge; these pixels are included.
        output_size: Number of bins on both axes.
        spatial_scale: Size of the image to that of what the RoIs are measured in.

    Raises:
        UserError: If there are RoIs but the images have no pixels, and on a CPU if a
            RoI is not finite or of no image.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_pool import roi_pool
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi_pool(image, torch.tensor([[0.0, 0, 0, 3, 3]]), output_size=2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    bins = (output_size,) * 2 if isinstance(output_size, int) else output_size
    return _RoIPool.apply(image, rois, (*bins, spatial_scale))


class _RoIPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, rois: Tensor, options: tuple) -> Tensor:
        pooled = image.new_empty(len(rois), image.size(1), *options[:2])
        places = torch.empty_like(pooled, dtype=torch.int)
        roi_pool_forward(image, rois, pooled, places, *options)
        ctx.save_for_backward(rois, places)
        ctx.options, ctx.shape = options, image.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad_image = grad.new_empty(ctx.shape)
        rois, places = ctx.saved_tensors
        roi_pool_backward(grad, rois, places, grad_image, *ctx.options)
        return grad_image, None, None


def _bin_edges(
    rois: Float[Tensor, 'rois 5'],
    shape: torch.Size,
    bins: tuple[int, int],
    scale: float,
) -> list[tuple[Int[Tensor, 'rois bins'], Int[Tensor, 'rois bins']]]:
    """Return the first pixel of each bin and the one after its last, for y and for x.

    Bins overlap by the pixels they share; a RoI includes its last row and column.
    """
    edges = []
    low, high = rois[:, [2, 1]] * scale, (rois[:, [4, 3]] + 1) * scale
    sized = (high > low).all(dim=1)[:, None]
    for axis, (size, number) in enumerate(zip(shape[2:], bins, strict=True)):
        start = low[:, axis, None]
        step = (high[:, axis, None] - start) / number
        counter = torch.arange(number, device=rois.device, dtype=rois.dtype)
        # mmcv rounds in float32 whatever the precision of the RoIs.
        first = (counter * step + start).float().floor().clamp(0, size).long()
        last = ((counter + 1) * step + start).float().ceil().clamp(0, size).long()
        edges.append((first, torch.where(sized, last, first)))
    return edges


def _max_of_bins(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    bins: tuple[int, int],
    scale: float,
    outputs: tuple[Tensor, Tensor],
) -> None:
    """Write the largest pixel of each bin and its place (y * width + x).

    An empty bin has the value 0 and the place -1.
    """
    y, x = _bin_edges(rois, image.shape, bins, scale)
    image_start = common.first_pixels(rois, image.shape)
    extent = torch.stack([(last - first).amax(1) for first, last in (y, x)], dim=1)
    plan = list(common.equal_rows(extent.clamp(min=1)))
    for block, table in common.tables(image):
        for members, (high, wide) in plan:
            each = bins[0] * bins[1] * high * wide * table.size(1)
            for rows in members.split(max(1, _CHUNK // each)):
                row = _pixels(y, rows, high)[:, :, None, :, None]
                column = _pixels(x, rows, wide)[:, None, :, None, :]
                place = (row * image.size(3) + column).flatten(3)
                pixels = place + image_start[rows].view(-1, 1, 1, 1)
                best, which = table[pixels].max(dim=3)
                empty = _empty(y, rows)[:, :, None] | _empty(x, rows)[:, None, :]
                empty = empty[..., None]
                found = (
                    best.masked_fill(empty, 0),
                    place.gather(3, which).masked_fill(empty, _NOWHERE),
                )
                for output, value in zip(outputs, found, strict=True):
                    output[rows, block] = value.permute(0, 3, 1, 2).to(output.dtype)


def _pixels(edges: tuple[Tensor, Tensor], rows: Tensor, number: int) -> Tensor:
    """Return the pixels of each bin on one axis, its last one repeated to `number`."""
    first, last = (edge[rows, :, None] for edge in edges)
    counter = torch.arange(number, device=rows.device)
    return (first + counter).minimum(last - 1).clamp(min=0)


def _empty(edges: tuple[Tensor, Tensor], rows: Tensor) -> Tensor:
    first, last = edges
    return last[rows] <= first[rows]


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the pooled RoIs and the places of the maxima."""
    common.check_rois('roi_pool', rois, input.shape)
    if output.numel() == 0:
        return
    rois = rois.to(at_least_float32(input).dtype)
    bins = (pooled_height, pooled_width)
    _max_of_bins(input, rois, bins, spatial_scale, (output, argmax))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the image."""
    batch, channels, height, width = grad_input.shape
    plane = rois[:, 0].long()[:, None] * channels
    plane = plane + torch.arange(channels, device=rois.device)
    first = (plane * (height * width))[..., None, None]
    gradient = at_least_float32(grad_output) * (argmax != _NOWHERE)
    total = gradient.new_zeros(grad_input.numel())
    pixels = first + argmax.clamp(min=0)
    total.scatter_add_(0, pixels.flatten(), gradient.flatten())
    grad_input.copy_(total.view(batch, channels, height, width))
