"""The maximum of RoIAlign's samples in each bin, and its gradient.

The forward notes which sample of the bin is the best, as whole numbers: mmcv's buffers
for that have the type of the image, in which a position would be rounded. The backward
computes its position anew and samples there once more.
"""

from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops import rois as common
from paperzoo.compat.ops.roi_grid import (
    Geometry,
    Part,
    bins_of,
    parts,
    sample_positions,
    samples_of,
    two_taps,
)
from paperzoo.compat.ops.widen import wide

# mmcv's start values: what is not above the first has no place and no gradient.
_LOWEST = -10000.0
_NOWHERE = -1
# The whole numbers that are as long as a number of the buffer.
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Pooled numbers whose gradient is spread at once: bounds the memory.
_SPREAD = 1 << 20


def max_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Write the largest sample of each bin and its place: row and column of samples.

    Without samples, and where no sample is above -10000, that is the value and the
    place is -1.

    Args:
        image: The images.
        rois: Image index, left, top, right and bottom edge.
        geometry: How a RoI is laid on the image.
        outputs: The buffers of mmcv. The last two get whole numbers, see `whole`.
    """
    outputs = outputs[0], whole(outputs[1]), whole(outputs[2])
    first = common.first_pixels(rois, image.shape)
    plan = list(parts(rois, geometry))
    for block, table in common.tables(image):
        for part in plan:
            args = (first[part.rows], image.shape, geometry)
            found = best_samples(table, part, *args)
            for output, value in zip(outputs, found, strict=True):
                output[part.rows, block] = value.permute(0, 3, 1, 2).to(output.dtype)


def whole(buffer: Tensor) -> Tensor:
    """Return the memory of a buffer of floating point numbers as whole numbers."""
    return buffer.view(_WHOLE[buffer.element_size()])


def best_samples(
    table: Float[Tensor, 'pixels channels'],
    part: Part,
    first: Int[Tensor, ' part'],
    shape: torch.Size,
    geometry: Geometry,
) -> tuple[
    Float[Tensor, 'part bins_y bins_x channels'],
    Int[Tensor, 'part bins_y bins_x channels'],
    Int[Tensor, 'part bins_y bins_x channels'],
]:
    """Return the largest sample of each bin, the first of equals, and its place."""
    y = sample_positions(part, 0, geometry.bins[0])
    x = sample_positions(part, 1, geometry.bins[1])
    row, weight_y = two_taps(y[:, :, None], shape[2])
    column, weight_x = two_taps(x[:, None], shape[3])
    row = row * shape[3] + first.view(-1, 1, 1, 1, 1)
    bins = (len(y), *geometry.bins, table.size(1))
    best = table.new_full(bins, _LOWEST)
    place_y, place_x = torch.full(
        (2, *bins), _NOWHERE, dtype=torch.int32, device=table.device
    )
    # Sample by sample: several times faster than `max` over their dimension.
    for i, j in product(*map(range, part.samples)):
        pixels = row[..., i, :, None] + column[..., j, None, :]
        weights = weight_y[..., i, :, None] * weight_x[..., j, None, :]
        starts = torch.arange(0, pixels.numel(), 4, device=pixels.device)
        sample = common.weighted_sums(
            table, pixels.flatten(), weights.flatten(), starts
        ).view(bins)
        higher = sample > best
        place_y.masked_fill_(higher, i)
        place_x.masked_fill_(higher, j)
        torch.fmax(best, sample, out=best)  # passes over what is not a number
    return best, place_y, place_x


def max_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    places: tuple[Tensor, Tensor],
    grad_image: Float[Tensor, 'batch channels height width'],
) -> None:
    """Write the gradient of the image from that of the bins' maxima.

    Args:
        grad_output: Their gradient.
        rois: As in `max_pool`, with `geometry`.
        geometry: How a RoI is laid on the image.
        places: The buffers that `max_pool` wrote.
        grad_image: What is written.
    """
    _, channels, height, width = grad_image.shape
    total = wide(torch.zeros_like(grad_image, memory_format=torch.contiguous_format))
    plane = common.first_pixels(rois, grad_image.shape)[:, None] * channels
    plane = plane + torch.arange(channels, device=rois.device) * (height * width)
    number = max(1, _SPREAD // max(1, grad_output.shape[1:].numel()))
    for rows in torch.arange(len(rois), device=rois.device).split(number):
        chosen = [whole(place[rows]) for place in places]
        gradient = wide(grad_output[rows]) * (chosen[0] != _NOWHERE)
        y, x = chosen_positions(rois[rows], geometry, chosen)
        (row, weight_y), (column, weight_x) = two_taps(y, height), two_taps(x, width)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            pixel = row[..., i] * width + column[..., j] + plane[rows][..., None, None]
            share = gradient * weight_y[..., i] * weight_x[..., j]
            total.view(-1).scatter_add_(0, pixel.flatten(), share.flatten())
    grad_image.copy_(total)


def chosen_positions(
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    places: list[Int[Tensor, 'rois channels bins_y bins_x']],
) -> list[Float[Tensor, 'rois channels bins_y bins_x']]:
    """Return where the chosen samples lie: their y and their x, in pixels."""
    start, step = bins_of(rois, geometry)
    samples = samples_of(step, geometry)
    found = []
    for axis, place in enumerate(places):
        begin, size, number = (
            x[:, axis, None, None, None] for x in (start, step, samples)
        )
        shape = (-1, 1) if axis == 0 else (-1,)
        before = torch.arange(geometry.bins[axis], device=step.device).view(shape)
        # In the order of `sample_positions`: the same numbers to the last bit.
        found.append(begin + before * size + (place + 0.5) * size / number)
    return found
