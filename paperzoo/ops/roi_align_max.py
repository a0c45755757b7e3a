"""The maximum of RoIAlign's samples in each bin, and its gradient.

The forward notes which sample of the bin is the best, as a whole number: mmcv's buffers
for that have the type of the image, in which a position would be rounded. The backward
computes its position anew and samples there once more.
"""

from collections.abc import Iterator
from itertools import product as pairs_of

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.ops import roi_common as common
from paperzoo.ops.roi_bins import (
    RoIGrid,
    bins_of,
    equal_numbers,
    outer_product,
    pair,
    sample_positions,
    samples_of,
    two_taps,
)
from paperzoo.ops.sparse import SparseMatrix, product
from paperzoo.utils.precision import at_least_float32

# mmcv's start values: what is not above the first has no place and no gradient.
_LOWEST = -10000.0
_NOWHERE = -1
# The whole numbers that are as long as a number of the buffer.
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Entries of matrices that are made at once: bounds the memory.
_LIMIT = 1 << 22
# Samples that are laid at once: their positions and weights stay in the cache.
_CHUNK = 1 << 16
# Samples in a bin: each takes a pass over the image.
_MOST = 1 << 20
# Pooled numbers whose gradient is added at once: bounds the memory.
_GRADIENTS = 1 << 20


def max_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
    outputs: tuple[Tensor, Tensor],
) -> None:
    """Write the largest sample of each bin and its number, row by row.

    Without samples, and where no sample is above -10000, that is the value and the
    number is -1.

    Args:
        image: The images.
        rois: Image index, left, top, right and bottom edge.
        grid: How the RoIs are divided and sampled.
        outputs: Buffers of mmcv. The second gets whole numbers of the same length.

    Raises:
        UserError: If a bin has more samples than the whole numbers of the second buffer
            can count.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align_max import RoIGrid, max_pool
        >>> image, rois = torch.eye(4)[None, None], torch.tensor([[0.0, 0, 0, 4, 4]])
        >>> outputs = torch.empty(1, 1, 1, 2), torch.empty(1, 1, 1, 2)
        >>> max_pool(image, rois, RoIGrid((1, 2), 1.0, 0, True), outputs)
        >>> outputs[0], outputs[1].view(torch.int32)
        (tensor([[[[1., 1.]]]]), tensor([[[[0, 4]]]], dtype=torch.int32))
    """
    values, places = outputs[0], _whole(outputs[1])
    most = min(torch.iinfo(places.dtype).max, _MOST)
    for batch in _sample_batches(rois, image.shape, grid, most):
        for block, table in common.tables(image):
            for some, samples in batch:
                found = _best_samples(table, samples, (len(some), *grid.bins))
                for into, result in zip((values, places), found, strict=True):
                    into[some, block] = result.permute(0, 3, 1, 2).to(into.dtype)


def _whole(buffer: Tensor) -> Tensor:
    """Return the memory of a buffer of floating point numbers as whole numbers."""
    return buffer.view(_WHOLE[buffer.element_size()])


def _sample_batches(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size, grid: RoIGrid, most: int
) -> Iterator[list[tuple[Int[Tensor, ' some'], list[SparseMatrix]]]]:
    """Yield lists of RoIs and of the matrices of their samples, about `_LIMIT` at once.

    The first matrix takes pixels to the first sample of each bin, and so on. There may
    be `most` samples in a bin; more are an error.
    """
    first, kind = common.first_pixels(rois, shape), common.index_type(shape)
    start, step = bins_of(rois, grid)
    samples, (bins_y, bins_x) = samples_of(step, grid), grid.bins
    size = pair(shape[2], shape[3], rois.device)[:, None, None]
    batch, waiting = [], 0
    for members, (high, wide) in equal_numbers(samples, grid, grid.sampling):
        if high * wide > most:
            half = most == torch.iinfo(torch.int16).max
            remedy = 'images in float32' if half else 'smaller RoIs'
            raise UserError(
                f'roi_align: rois[{int(members[0])}] has {high * wide} samples in a '
                f'bin; of images of this precision the maximum is found among at most '
                f'{most}. Pass a sampling_ratio or {remedy}.'
            )
        each = bins_y * bins_x * high * wide
        for some in members.split(max(1, _CHUNK // max(1, each))):
            taken = (start[some], step[some], samples[some])
            places = sample_positions(*taken, (max(grid.bins), max(high, wide)))
            pixels, weights = two_taps(places, size)
            pixels[:, 0] = pixels[:, 0] * shape[3] + first[some, None, None, None]
            pixels = pixels.to(kind)
            rows = len(some) * bins_y * bins_x
            starts = torch.arange(rows + 1, device=rois.device, dtype=kind) * 4
            matrices = []
            for i, j in pairs_of(range(high), range(wide)):
                y, x = (
                    (pixels[:, axis, :bins, place], weights[:, axis, :bins, place])
                    for axis, (bins, place) in enumerate(((bins_y, i), (bins_x, j)))
                )
                columns, values = (x.flatten() for x in outer_product(y, x))
                matrices.append(SparseMatrix(columns, values, starts))
            batch.append((some, matrices))
            waiting += 4 * len(some) * each
            if waiting > _LIMIT:
                yield batch
                batch, waiting = [], 0
    if batch:
        yield batch


def _best_samples(
    table: Float[Tensor, 'pixels channels'],
    samples: list[SparseMatrix],
    bins: tuple[int, int, int],
) -> tuple[
    Float[Tensor, 'rois bins_y bins_x channels'],
    Int[Tensor, 'rois bins_y bins_x channels'],
]:
    """Return the largest sample of each bin, the first of equals, and its number."""
    best = table.new_full((*bins, table.size(1)), _LOWEST)
    place = torch.full_like(best, _NOWHERE, dtype=torch.int32)
    # Sample by sample: several times faster than `max` over their dimension.
    for number, matrix in enumerate(samples):
        sample = product(matrix, table).view_as(best)
        place.masked_fill_(sample > best, number)
        torch.fmax(best, sample, out=best)  # passes over what is not a number
    return best, place


def max_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
    places: Tensor,
    grad_image: Float[Tensor, 'batch channels height width'],
) -> None:
    """Write the gradient of the image from that of the bins' maxima.

    Args:
        grad_output: Their gradient.
        rois: As in `max_pool`, with `grid`.
        grid: How the RoIs are divided and sampled.
        places: The buffer that `max_pool` wrote.
        grad_image: What is written.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align_max import RoIGrid, max_pool_gradient
        >>> rois = torch.tensor([[0.0, 0, 0, 2, 2]])
        >>> grid = RoIGrid((1, 1), 1.0, 0, True)
        >>> third = torch.full((1, 1, 1, 1), 2, dtype=torch.int32).view(torch.float32)
        >>> grad = torch.empty(1, 1, 2, 2)
        >>> max_pool_gradient(torch.ones(1, 1, 1, 1), rois, grid, third, grad)
        >>> grad[0, 0].tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """
    _, channels, height, width = grad_image.shape
    total = at_least_float32(
        torch.zeros_like(grad_image, memory_format=torch.contiguous_format)
    )
    plane = common.first_pixels(rois, grad_image.shape)[:, None] * channels
    plane = plane + torch.arange(channels, device=rois.device) * (height * width)
    number = max(1, _GRADIENTS // max(1, grad_output.shape[1:].numel()))
    for rows in torch.arange(len(rois), device=rois.device).split(number):
        chosen = _whole(places[rows])
        gradient = at_least_float32(grad_output[rows]) * (chosen != _NOWHERE)
        y, x = _chosen_positions(rois[rows], grid, chosen)
        (row, weight_y), (column, weight_x) = two_taps(y, height), two_taps(x, width)
        for i, j in pairs_of(range(2), range(2)):
            pixel = row[..., i] * width + column[..., j] + plane[rows][..., None, None]
            share = gradient * weight_y[..., i] * weight_x[..., j]
            total.view(-1).scatter_add_(0, pixel.flatten(), share.flatten())
    grad_image.copy_(total)


def _chosen_positions(
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
    chosen: Int[Tensor, 'rois channels bins_y bins_x'],
) -> list[Float[Tensor, 'rois channels bins_y bins_x']]:
    """Return where the samples of these numbers lie: their y and their x, in pixels."""
    start, step = bins_of(rois, grid)
    samples = samples_of(step, grid)
    wide = samples[:, 1, None, None, None].clamp(min=1)
    row = chosen.div(wide, rounding_mode='floor')
    found = []
    for axis, place in enumerate((row, chosen - row * wide)):
        begin, size, number = (
            x[:, axis, None, None, None] for x in (start, step, samples)
        )
        shape = (-1, 1) if axis == 0 else (-1,)
        before = torch.arange(grid.bins[axis], device=step.device).view(shape)
        # In the order of `sample_positions`: the same numbers to the last bit.
        found.append(begin + before * size + (place + 0.5) * size / number)
    return found
