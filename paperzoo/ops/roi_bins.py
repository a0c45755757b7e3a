"""Where the bins of RoIAlign sample an image, and their means as a sparse matrix.

The rows and the columns of a bin's samples are chosen independently of each other, so
its mean is a sum over rows x columns of pixels, which are found for each axis alone.

Two ways lead to them: n samples at most a pixel apart lie over a window of n + 1
pixels; samples further apart have two pixels each. With the first way only, large bins
would have many entries; with the second one only, usual ones nearly twice as many.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.roi_common import equal_rows, first_pixels, index_type
from paperzoo.ops.sparse import SparseMatrix

# Samples on one axis that are laid at once, and entries of a matrix that are made at
# once: bound the memory.
_CHUNK = 1 << 20
_LIMIT = 1 << 22


class RoIGrid(NamedTuple):
    """How RoIs are divided into bins, and these sampled.

    Attributes:
        bins: How many, vertical and horizontal.
        scale: Size of the image to that of what the RoIs are measured in.
        sampling: Samples in a bin on each axis; 0 is about one sample per pixel.
        aligned: Whether the centre of the first pixel is at (0.5, 0.5), else (0, 0).

    Example:
        >>> from paperzoo.ops.roi_bins import RoIGrid
        >>> RoIGrid(bins=(7, 7), scale=1 / 8, sampling=2, aligned=True).scale
        0.125
    """

    bins: tuple[int, int]
    scale: float
    sampling: int
    aligned: bool


class Taps(NamedTuple):
    """The pixels under each bin on each axis, and their weights in its mean.

    Only the first `number` of the taps count.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import Taps
        >>> one = torch.ones(1, 2, 3, 4)  # RoIs, axes, bins, taps
        >>> Taps(one.long(), one, torch.full((1, 2), 4)).number
        tensor([[4, 4]])
    """

    pixels: Int[Tensor, 'rois yx=2 bins taps']
    weights: Float[Tensor, 'rois yx=2 bins taps']
    number: Int[Tensor, 'rois yx=2']


def pair(first: int, second: int, device: torch.device) -> Int[Tensor, '2']:
    """Return two numbers, made on the device: a copy to a GPU would stop the host.

    Args:
        first: The one.
        second: The other.
        device: Where to make them.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import pair
        >>> pair(7, 5, torch.device('cpu'))
        tensor([7, 5])
    """
    return torch.arange(2, device=device) * (second - first) + first


def bins_of(
    rois: Float[Tensor, 'rois 5'], grid: RoIGrid
) -> tuple[Float[Tensor, 'rois yx=2'], Float[Tensor, 'rois yx=2']]:
    """Return the upper left corner of each RoI and the size of its bins, in pixels.

    Args:
        rois: Image index, left, top, right and bottom edge.
        grid: How they are divided.

    If the grid is aligned the size of a bin may be negative, as that of its RoI.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import RoIGrid, bins_of
        >>> bins_of(torch.tensor([[0.0, 4, 8, 12, 24]]), RoIGrid((2, 4), 0.5, 0, False))
        (tensor([[4., 2.]]), tensor([[4., 1.]]))
    """
    corners = rois[:, [2, 1, 4, 3]] * grid.scale - 0.5 * grid.aligned
    size = corners[:, 2:] - corners[:, :2]
    if not grid.aligned:
        size = size.clamp(min=1)
    return corners[:, :2], size / pair(*grid.bins, rois.device)


def samples_of(
    step: Float[Tensor, 'rois yx=2'], grid: RoIGrid
) -> Int[Tensor, 'rois yx=2']:
    """Return the number of samples in bins of these sizes; none if not finite.

    Args:
        step: Sizes of bins, in pixels.
        grid: Says how densely they are sampled.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import RoIGrid, samples_of
        >>> samples_of(torch.tensor([[4.0, 1.2]]), RoIGrid((7, 7), 1.0, 0, True))
        tensor([[4, 2]])
    """
    if grid.sampling > 0:
        return torch.full_like(step, grid.sampling).long()
    # mmcv rounds in float32 whatever the precision of the RoIs.
    # Beyond the last float32 below 2 ** 63 there is no whole number.
    most = float(2**63 - 2**39)
    return step.float().nan_to_num(0, 0, 0).ceil().clamp(0, most).long()


def equal_numbers(
    numbers: Int[Tensor, 'rois yx=2'], grid: RoIGrid, fixed: int
) -> Iterator[tuple[Int[Tensor, ' equal'], list[int]]]:
    """Yield the RoIs whose numbers are equal on both axes, and these numbers.

    Args:
        numbers: Of samples or of what follows from them.
        grid: With a fixed sampling on a GPU there is no look at the numbers.
        fixed: All the numbers are this in that case.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import RoIGrid, equal_numbers
        >>> numbers = torch.tensor([[2, 3], [1, 1], [2, 3]])
        >>> list(equal_numbers(numbers, RoIGrid((7, 7), 1.0, 0, True), fixed=0))
        [(tensor([1]), [1, 1]), (tensor([0, 2]), [2, 3])]
    """
    if grid.sampling > 0 and numbers.is_cuda:
        yield torch.arange(len(numbers), device=numbers.device), [fixed, fixed]
    else:
        yield from equal_rows(numbers)


def sample_positions(
    start: Float[Tensor, 'rois yx=2'],
    step: Float[Tensor, 'rois yx=2'],
    samples: Int[Tensor, 'rois yx=2'],
    shape: tuple[int, int],
) -> Float[Tensor, 'rois yx=2 bins most']:
    """Return where the samples of each bin lie along both axes, in pixels.

    Args:
        start: Where each RoI begins.
        step: Size of its bins.
        samples: How many samples there are in a bin; what is behind these is nothing.
        shape: How many bins, and at most how many samples there are.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import sample_positions
        >>> start, step = torch.tensor([[0.0, 10]]), torch.tensor([[4.0, 2]])
        >>> sample_positions(start, step, torch.tensor([[2, 2]]), (1, 2)).tolist()
        [[[[1.0, 3.0]], [[10.5, 11.5]]]]
    """
    start, step, samples = (x[..., None, None] for x in (start, step, samples))
    before, within = (
        torch.arange(n, device=step.device, dtype=step.dtype) for n in shape
    )
    within = (within + 0.5) * step / samples.clamp(min=1)
    return start + before[:, None] * step + within


def most_samples(shape: torch.Size) -> int:
    """Return how many samples of a bin are laid, on an axis, of however large a RoI.

    Samples of large RoIs are more than half a pixel apart: so many cover the image, and
    the rest of them lies outside.

    Args:
        shape: Shape of the batch of images.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import most_samples
        >>> most_samples(torch.Size([2, 256, 200, 304]))
        2456
    """
    return 8 * (max(shape[2:]) + 3)


def near_positions(
    start: Float[Tensor, 'rois yx=2'],
    step: Float[Tensor, 'rois yx=2'],
    samples: Int[Tensor, 'rois yx=2'],
    shape: torch.Size,
    bins: int,
) -> Float[Tensor, 'rois yx=2 bins most']:
    """Return what `sample_positions` does, without most samples outside the image.

    Args:
        start: Where each RoI begins, in pixels.
        step: Size of its bins.
        samples: How many samples there are in a bin.
        shape: Shape of the batch of images.
        bins: How many bins there are.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import near_positions
        >>> start, step = torch.tensor([[-5e8, 0.0]]), torch.tensor([[1e9, 4.0]])
        >>> count = torch.tensor([[10**9, 4]])
        >>> near = near_positions(start, step, count, torch.Size([1, 1, 9, 9]), 1)
        >>> near.shape[3], near[0, 0, 0, 0].item(), near[0, 1, 0, 3].item()
        (96, -1.5, 3.5)
    """
    start, step = start.double()[..., None], step.double()[..., None]
    count = samples.double()[..., None].clamp(min=1)
    begin = start + torch.arange(bins, device=start.device) * step
    apart = step / count
    # The first sample that is at most a pixel outside, or the one before it.
    first = ((-1 - begin) / apart.clamp(min=1e-9) - 1).floor()
    first = first.clamp(min=0).minimum((count - most_samples(shape)).clamp(min=0))
    number = torch.arange(most_samples(shape), device=start.device)
    return begin[..., None] + (first[..., None] + number + 0.5) * apart[..., None]


def two_taps(
    positions: Float[Tensor, '*samples'], size: int | Int[Tensor, '*#samples']
) -> tuple[Int[Tensor, '*samples 2'], Float[Tensor, '*samples 2']]:
    """Return the two pixels around each position on one axis, and their weights.

    A position up to a pixel outside counts as the border, beyond that as nothing.

    Args:
        positions: In pixels; the first one is at 0.
        size: How many pixels there are.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import two_taps
        >>> two_taps(torch.tensor([1.25]), 4)
        (tensor([[1, 2]]), tensor([[0.7500, 0.2500]]))
    """
    inside = (positions >= -1) & (positions <= size)
    clipped = torch.where(inside, positions, 0).clamp(min=0).clamp(max=size - 1)
    low = clipped.floor()
    share = clipped - low
    weights = torch.stack((1 - share, share), dim=-1) * inside[..., None]
    low = low.long()
    return torch.stack((low, (low + 1).clamp(max=size - 1)), dim=-1), weights


def window_taps(
    positions: Float[Tensor, 'rois axes bins samples'],
    samples: Int[Tensor, 'rois axes'],
    size: Int[Tensor, ' axes'],
) -> Taps:
    """Return the pixels under all samples of a bin, where these are dense.

    n samples at most one pixel apart lie over n + 1 consecutive pixels, fewer than the
    2n of the samples one by one.

    Args:
        positions: Where the samples lie, in pixels.
        samples: How many of them there are in a bin; what stands behind is ignored.
        size: Height and width of the images.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import window_taps
        >>> positions = torch.tensor([1.25, 2.25]).expand(1, 2, 1, 2)
        >>> taps = window_taps(positions, torch.full((1, 2), 2), torch.tensor([9, 9]))
        >>> taps.pixels[0, 0, 0].tolist(), taps.weights[0, 0, 0].tolist()
        ([1, 2, 3], [0.75, 1.0, 0.25])
    """
    most = positions.size(-1)
    number = (samples + samples.sign()).minimum(size)
    last = (number - 1).clamp(min=0)[..., None, None]
    size = size[:, None, None]
    inside = torch.arange(most, device=positions.device) < samples[..., None, None]
    inside = inside & (positions >= -1) & (positions <= size)
    clipped = positions.clamp(min=0).minimum(size - 1)
    first = clipped[..., :1].floor().minimum(size - 1 - last)
    moved = clipped - first
    # The clamp is for a rounded position that is a hair beyond the window.
    low = moved.floor().minimum(last - 1).clamp(min=0)
    share = (moved - low) * inside
    low = low.long()
    weights = positions.new_zeros(*positions.shape[:-1], most + 1)
    weights.scatter_add_(-1, low, inside.to(share) - share)
    weights.scatter_add_(-1, (low + 1).minimum(last), share)
    pixels = first.long() + torch.arange(most + 1, device=positions.device)
    return Taps(pixels, weights, number)


def _bin_taps(
    start: Float[Tensor, 'rois yx=2'],
    step: Float[Tensor, 'rois yx=2'],
    samples: Int[Tensor, 'rois yx=2'],
    shape: torch.Size,
    grid: RoIGrid,
) -> Taps:
    """Return the taps of all bins along both axes.

    With a fixed sampling on a GPU their number is fixed, too: two for each sample.
    """
    size = pair(shape[2], shape[3], start.device)
    some = samples > 0
    start, step = start.where(some, 0), step.where(some, 0)
    most = grid.sampling or int(samples.max())
    if grid.sampling == 0 and most > most_samples(shape):
        positions = near_positions(start, step, samples, shape, max(grid.bins))
        near = samples.clamp(max=positions.size(3))
        taps = window_taps(positions.to(start.dtype), near, size)
    elif grid.sampling == 0:
        positions = sample_positions(start, step, samples, (max(grid.bins), most))
        taps = window_taps(positions, samples, size)
    else:
        positions = sample_positions(start, step, samples, (max(grid.bins), most))
        pixels, weights = two_taps(positions, size[:, None, None])
        taps = Taps(pixels.flatten(3), weights.flatten(3), 2 * samples)
        if not start.is_cuda:
            dense = (step >= 0) & (step <= samples)
            window = window_taps(positions, samples, size)
            missing = taps.pixels.size(-1) - window.pixels.size(-1)
            pixels, weights = (
                F.pad(x, (0, missing)).where(dense[..., None, None], y)
                for x, y in zip(window[:2], taps[:2], strict=True)
            )
            taps = Taps(pixels, weights, window.number.where(dense, taps.number))
    return taps._replace(weights=taps.weights / samples.clamp(min=1)[..., None, None])


def outer_product(
    y: tuple[Int[Tensor, 'rois rows taps_y'], Float[Tensor, 'rois rows taps_y']],
    x: tuple[Int[Tensor, 'rois columns taps_x'], Float[Tensor, 'rois columns taps_x']],
) -> tuple[Int[Tensor, 'places taps'], Float[Tensor, 'places taps']]:
    """Return the pixels and weights of all places, from those of both axes.

    Args:
        y: The number of the first pixel of some rows of pixels for each place on the
            vertical axis, and their weights.
        x: The same for the columns.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import outer_product
        >>> y = torch.tensor([[[0, 10]]]), torch.tensor([[[0.5, 0.5]]])
        >>> outer_product(y, (torch.tensor([[[3]]]), torch.tensor([[[1.0]]])))
        (tensor([[ 3, 13]]), tensor([[0.5000, 0.5000]]))
    """
    high, wide = y[0].size(2), x[0].size(2)
    laid_out = []
    for rows, columns in zip(y, x, strict=True):
        # Taps of both are laid out before: to broadcast so few is slow.
        rows = rows[..., None].expand(-1, -1, -1, wide).flatten(2)
        columns = columns[:, :, None].expand(-1, -1, high, -1).flatten(2)
        laid_out.append((rows[:, :, None], columns[:, None]))
    pixels, weights = laid_out
    return torch.add(*pixels).flatten(0, 2), torch.mul(*weights).flatten(0, 2)


def mean_matrices(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size, grid: RoIGrid
) -> Iterator[tuple[Int[Tensor, ' some'], SparseMatrix]]:
    """Yield some RoIs and the matrix that takes pixels to the means of all their bins.

    In the end all RoIs are there. About `_LIMIT` entries come at once.

    Args:
        rois: Image index, left, top, right and bottom edge.
        shape: Shape of the batch of images.
        grid: How the RoIs are divided and sampled.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_bins import RoIGrid, mean_matrices
        >>> rois = torch.tensor([[0.0, 1, 0, 2, 1]])
        >>> grid = RoIGrid((1, 1), 1.0, 1, True)
        >>> ((some, matrix),) = mean_matrices(rois, torch.Size([1, 1, 2, 2]), grid)
        >>> some, matrix.columns[matrix.weights > 0]
        (tensor([0]), tensor([1], dtype=torch.int32))
    """
    start, step = bins_of(rois, grid)
    samples = samples_of(step, grid)
    most = grid.sampling or min(int(samples.max()), most_samples(shape))
    first = first_pixels(rois, shape)
    waiting: list[tuple[Tensor, Tensor, Tensor]] = []
    every = torch.arange(len(rois), device=rois.device)
    for some in every.split(max(1, _CHUNK // (max(grid.bins) * max(1, most)))):
        taps = _bin_taps(start[some], step[some], samples[some], shape, grid)
        taps.pixels[:, 0] = taps.pixels[:, 0] * shape[3] + first[some, None, None]
        taps = taps._replace(pixels=taps.pixels.to(index_type(shape)))
        groups = equal_numbers(taps.number, grid, 2 * grid.sampling)
        for rows, number in groups:
            each = math.prod(grid.bins) * max(1, math.prod(number))
            for part in rows.split(max(1, _LIMIT // each)):
                chosen = [values.index_select(0, part) for values in taps[:2]]
                y, x = (
                    (chosen[0][:, axis, :bins, :most], chosen[1][:, axis, :bins, :most])
                    for axis, (bins, most) in enumerate(
                        zip(grid.bins, number, strict=True)
                    )
                )
                waiting.append((some[part], *outer_product(y, x)))
                if sum(pixels.numel() for _, pixels, _ in waiting) > _LIMIT:
                    yield _joined(waiting)
                    waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, SparseMatrix]:
    rois, pixels, weights = zip(*parts, strict=True)
    sizes = torch.cat([x.new_full((len(x),), x.size(1)) for x in pixels])
    starts = F.pad(sizes.cumsum(0, dtype=sizes.dtype), (1, 0))
    columns, values = (torch.cat([x.flatten() for x in xs]) for xs in (pixels, weights))
    return torch.cat(rois), SparseMatrix(columns, values, starts)
