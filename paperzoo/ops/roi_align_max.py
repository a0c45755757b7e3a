"""The maximum of RoIAlign's samples in each bin, and its gradient.

The forward notes which sample of the bin is the best, as a whole number: mmcv's buffers
for that have the type of the image, in which a position would be rounded. The backward
computes its position anew and samples there once more.
"""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops import roi_common as common
from paperzoo.ops.roi_common import (
    Geometry,
    bins_of,
    pair,
    parts,
    sample_positions,
    samples_of,
    two_taps,
)
from paperzoo.utils.errors import UserError
from paperzoo.utils.precision import at_least_float32

# mmcv's start values: what is not above the first has no place and no gradient.
_LOWEST = -10000.0
_NOWHERE = -1
# The whole numbers that are as long as a number of the buffer.
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Pixels of samples that are found at once: bounds the memory.
_LIMIT = 1 << 22
# Pooled numbers whose gradient is spread at once: bounds the memory.
_SPREAD = 1 << 20


def max_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    outputs: tuple[Tensor, Tensor],
) -> None:
    """Write the largest sample of each bin and its number, row by row.

    Without samples, and where no sample is above -10000, that is the value and the
    number is -1.

    Args:
        image: The images.
        rois: Image index, left, top, right and bottom edge.
        geometry: How a RoI is laid on the image.
        outputs: Buffers of mmcv. The second gets whole numbers, see `whole`.
    """
    values, places = outputs[0], whole(outputs[1])
    most = torch.iinfo(places.dtype).max
    for batch in sample_bags(rois, image.shape, geometry, most):
        for block, table in common.tables(image):
            for rows, samples in batch:
                found = best_samples(table, samples, (len(rows), *geometry.bins))
                for into, result in zip((values, places), found, strict=True):
                    into[rows, block] = result.permute(0, 3, 1, 2).to(into.dtype)


def whole(buffer: Tensor) -> Tensor:
    """Return the memory of a buffer of floating point numbers as whole numbers."""
    return buffer.view(_WHOLE[buffer.element_size()])


def sample_bags(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size, geometry: Geometry, most: int
) -> Iterator[list[tuple[Int[Tensor, ' some'], list[common.Bags]]]]:
    """Yield lists of RoIs and of the samples of their bins, about `_LIMIT` at once.

    The first bags are the first sample of each bin, as weighted pixels, and so on.

    Args:
        rois: Image index, left, top, right and bottom edge.
        shape: Shape of the batch of images.
        geometry: How a RoI is laid on the image.
        most: How many samples of a bin there may be; more are an error.
    """
    first = common.first_pixels(rois, shape)
    kind = common.index_type(shape)
    batch, waiting = [], 0
    for part in parts(rois, geometry):
        high, broad = part.samples
        if high * broad > most:
            raise UserError(
                f'roi_align: rois[{int(part.rows[0])}] has {high * broad} samples in a '
                f'bin; of images of this precision the maximum is found among at most '
                f'{most}. Pass a sampling_ratio or images in float32.'
            )
        samples = pair(high, broad, rois.device)[None]
        size = max(geometry.bins), max(high, broad)
        y, x = sample_positions(part.start, part.step, samples, size).unbind(dim=1)
        row, weight_y = two_taps(y[:, : geometry.bins[0], None, :high], shape[2])
        column, weight_x = two_taps(x[:, None, : geometry.bins[1], :broad], shape[3])
        row = (row * shape[3] + first[part.rows].view(-1, 1, 1, 1, 1)).to(kind)
        column = column.to(kind)
        bags = []
        for i, j in product(range(high), range(broad)):
            pixels = row[..., i, :, None] + column[..., j, None, :]
            weights = weight_y[..., i, :, None] * weight_x[..., j, None, :]
            bounds = torch.arange(0, pixels.numel() + 1, 4, device=pixels.device)
            bags.append(
                common.Bags(pixels.flatten(), weights.flatten(), bounds.to(kind))
            )
            waiting += pixels.numel()
        batch.append((part.rows, bags))
        if waiting > _LIMIT:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch


def best_samples(
    table: Float[Tensor, 'pixels channels'],
    samples: list[common.Bags],
    bins: tuple[int, int, int],
) -> tuple[
    Float[Tensor, 'rois bins_y bins_x channels'],
    Int[Tensor, 'rois bins_y bins_x channels'],
]:
    """Return the largest sample of each bin, the first of equals, and its number."""
    best = table.new_full((*bins, table.size(1)), _LOWEST)
    place = torch.full_like(best, _NOWHERE, dtype=torch.int32)
    # Sample by sample: several times faster than `max` over their dimension.
    for number, bags in enumerate(samples):
        sample = common.weighted_sums(table, bags).view_as(best)
        place.masked_fill_(sample > best, number)
        torch.fmax(best, sample, out=best)  # passes over what is not a number
    return best, place


def max_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    places: Tensor,
    grad_image: Float[Tensor, 'batch channels height width'],
) -> None:
    """Write the gradient of the image from that of the bins' maxima.

    Args:
        grad_output: Their gradient.
        rois: As in `max_pool`, with `geometry`.
        geometry: How a RoI is laid on the image.
        places: The buffer that `max_pool` wrote.
        grad_image: What is written.
    """
    _, channels, height, width = grad_image.shape
    total = at_least_float32(
        torch.zeros_like(grad_image, memory_format=torch.contiguous_format)
    )
    plane = common.first_pixels(rois, grad_image.shape)[:, None] * channels
    plane = plane + torch.arange(channels, device=rois.device) * (height * width)
    number = max(1, _SPREAD // max(1, grad_output.shape[1:].numel()))
    for rows in torch.arange(len(rois), device=rois.device).split(number):
        chosen = whole(places[rows])
        gradient = at_least_float32(grad_output[rows]) * (chosen != _NOWHERE)
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
    chosen: Int[Tensor, 'rois channels bins_y bins_x'],
) -> list[Float[Tensor, 'rois channels bins_y bins_x']]:
    """Return where the samples of these numbers lie: their y and their x, in pixels."""
    start, step = bins_of(rois, geometry)
    samples = samples_of(step, geometry)
    broad = samples[:, 1, None, None, None].clamp(min=1)
    row = chosen.div(broad, rounding_mode='floor')
    found = []
    for axis, place in enumerate((row, chosen - row * broad)):
        begin, size, number = (
            x[:, axis, None, None, None] for x in (start, step, samples)
        )
        shape = (-1, 1) if axis == 0 else (-1,)
        before = torch.arange(geometry.bins[axis], device=step.device).view(shape)
        # In the order of `sample_positions`: the same numbers to the last bit.
        found.append(begin + before * size + (place + 0.5) * size / number)
    return found
