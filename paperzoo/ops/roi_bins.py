"""The mean of each bin of RoIAlign as a weighted sum of pixels: a bag of entries.

The samples' rows and columns are chosen independently of each other, so a bin's mean is
a sum over rows x columns of pixels. These are found for each axis by itself.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperzoo.ops.roi_common import (
    Bags,
    Geometry,
    bins_of,
    equal_numbers,
    first_pixels,
    index_type,
    pair,
    sample_positions,
    samples_of,
    two_taps,
)

# Samples on one axis that are laid at once, and entries of bags that are made at once:
# bound the memory.
_CHUNK = 1 << 20
_LIMIT = 1 << 22
# Sums that are computed at once: 2 MiB, which stay in the cache.
_SUMS = 1 << 19


class Taps(NamedTuple):
    """The pixels under each bin on each axis, and their weights in its mean.

    Only the first `number` of the taps count.
    """

    pixels: Int[Tensor, 'rois yx=2 bins taps']
    weights: Float[Tensor, 'rois yx=2 bins taps']
    number: Int[Tensor, 'rois yx=2']


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


def bin_taps(
    start: Float[Tensor, 'rois yx=2'],
    step: Float[Tensor, 'rois yx=2'],
    samples: Int[Tensor, 'rois yx=2'],
    shape: torch.Size,
    geometry: Geometry,
) -> Taps:
    """Return the taps of all bins along both axes.

    Args:
        start: Where each RoI begins, in pixels.
        step: Size of its bins.
        samples: How many samples there are in a bin.
        shape: Shape of the batch of images.
        geometry: With a fixed sampling on a GPU the number of taps is fixed, too.
    """
    size = pair(shape[2], shape[3], start.device)
    some = samples > 0
    start, step = start.where(some, 0), step.where(some, 0)
    most = geometry.sampling or int(samples.max())
    positions = sample_positions(start, step, samples, (max(geometry.bins), most))
    if geometry.sampling == 0:
        taps = window_taps(positions, samples, size)
    else:
        taps = single_taps(positions, samples, size)
        if not start.is_cuda:
            window = window_taps(positions, samples, size)
            taps = rows_of_either(step <= samples, window, taps)
    return taps._replace(weights=taps.weights / samples.clamp(min=1)[..., None, None])


def single_taps(
    positions: Float[Tensor, 'rois axes bins samples'],
    samples: Int[Tensor, 'rois axes'],
    size: Int[Tensor, ' axes'],
) -> Taps:
    """Return the two pixels under each sample, whose number is the same in all bins."""
    pixels, weights = two_taps(positions, size[:, None, None])
    return Taps(pixels.flatten(3), weights.flatten(3), 2 * samples)


def rows_of_either(
    condition: Bool[Tensor, 'rois axes'], narrow: Taps, broad: Taps
) -> Taps:
    """Return the narrow taps where the condition holds, else the broad ones."""
    missing = broad.pixels.size(-1) - narrow.pixels.size(-1)
    pixels, weights = (
        F.pad(x, (0, missing)).where(condition[..., None, None], y)
        for x, y in zip(narrow[:2], broad[:2], strict=True)
    )
    return Taps(pixels, weights, narrow.number.where(condition, broad.number))


def mean_bags(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size, geometry: Geometry
) -> Iterator[tuple[Int[Tensor, ' some'], Bags]]:
    """Yield some RoIs and the bags of pixels of all their bins, until all are there.

    A bag's weighted sum is the mean of a bin. About `_LIMIT` entries come at once.

    Args:
        rois: Image index, left, top, right and bottom edge.
        shape: Shape of the batch of images.
        geometry: How a RoI is laid on the image.
    """
    start, step = bins_of(rois, geometry)
    samples = samples_of(step, geometry)
    most = geometry.sampling or int(samples.max())
    first = first_pixels(rois, shape)
    waiting: list[tuple[Tensor, Tensor, Tensor]] = []
    every = torch.arange(len(rois), device=rois.device)
    for some in every.split(max(1, _CHUNK // (max(geometry.bins) * max(1, most)))):
        taps = bin_taps(start[some], step[some], samples[some], shape, geometry)
        taps.pixels[:, 0] = taps.pixels[:, 0] * shape[3] + first[some, None, None]
        taps = taps._replace(pixels=taps.pixels.to(index_type(shape)))
        groups = equal_numbers(taps.number, geometry, 2 * geometry.sampling)
        for rows, (high, broad) in groups:
            each = geometry.bins[0] * geometry.bins[1] * max(1, high * broad)
            for part in rows.split(max(1, _LIMIT // each)):
                entries = outer_product(taps, part, geometry.bins, (high, broad))
                waiting.append((some[part], *entries))
                if sum(pixels.numel() for _, pixels, _ in waiting) > _LIMIT:
                    yield _joined(waiting)
                    waiting = []
    if waiting:
        yield _joined(waiting)


def outer_product(
    taps: Taps,
    rows: Int[Tensor, ' some'],
    bins: tuple[int, int],
    number: tuple[int, int],
) -> tuple[Int[Tensor, 'bags entries'], Float[Tensor, 'bags entries']]:
    """Return the pixels and weights of all bins of some RoIs with equal numbers."""
    high, broad = number
    found = []
    for values, combine in ((taps.pixels, torch.add), (taps.weights, torch.mul)):
        chosen = values.index_select(0, rows)
        # Bags of both are laid out before: to broadcast so few taps is slow.
        y = chosen[:, 0, : bins[0], :high, None].expand(-1, -1, -1, broad).flatten(2)
        x = chosen[:, 1, : bins[1], None, :broad].expand(-1, -1, high, -1).flatten(2)
        found.append(combine(y[:, :, None], x[:, None]).flatten(0, 2))
    return found[0], found[1]


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Bags]:
    rois, pixels, weights = zip(*parts, strict=True)
    sizes = torch.cat([x.new_full((len(x),), x.size(1)) for x in pixels])
    bounds = F.pad(sizes.cumsum(0, dtype=sizes.dtype), (1, 0))
    numbers = torch.cat([x.flatten() for x in pixels])
    return torch.cat(rois), Bags(
        numbers, torch.cat([x.flatten() for x in weights]), bounds
    )


def transposed(rois: Int[Tensor, ' some'], bags: Bags, bins: int, pixels: int) -> Bags:
    """Return the bag of each pixel: the numbers of the bins that it is part of.

    Args:
        rois: The RoIs whose bins the bags are.
        bags: Of each bin, the pixels.
        bins: How many a RoI has; they are numbered roi * bins + bin.
        pixels: How many there are.
    """
    by_pixel, order = bags.rows.sort()
    ones = by_pixel.new_ones(1).expand(len(by_pixel))
    counts = by_pixel.new_zeros(pixels + 1).index_add_(0, by_pixel + 1, ones)
    numbers = rois[:, None] * bins + torch.arange(bins, device=rois.device)
    numbers = numbers.flatten().to(by_pixel.dtype)
    # Known beforehand: asking for the sum of the sizes would stop the host.
    sizes = bags.bounds.diff()
    numbers = numbers.repeat_interleave(sizes, output_size=len(by_pixel))
    bounds = counts.cumsum(0, dtype=counts.dtype)
    numbers, weights = (x.index_select(0, order) for x in (numbers, bags.weights))
    return Bags(numbers, weights, bounds)


def runs(bags: Bags, size: int, width: int) -> Iterator[tuple[slice, slice, Bags]]:
    """Yield runs of pixels with entries: which images, pixels of these, and the bags.

    Args:
        bags: Of each pixel of all images, one after another.
        size: How many pixels an image has.
        width: How many channels will be summed. On a CPU a run of pixels is so short
            that the sums stay in the cache; on a GPU there is one.
    """
    if bags.bounds.is_cuda:
        yield slice(None), slice(None), bags
        return
    edges = [*range(0, size, max(1, _SUMS // width)), size]
    for number, bounds in enumerate(bags.bounds[:-1].view(-1, size)):
        ends = [*bounds[edges[:-1]].tolist(), int(bags.bounds[(number + 1) * size])]
        for pixels, (first, last) in zip(pairwise(edges), pairwise(ends), strict=True):
            if first < last:
                some = slice(number * size + pixels[0], number * size + pixels[1] + 1)
                part = Bags(
                    bags.rows[first:last],
                    bags.weights[first:last],
                    bags.bounds[some] - first,
                )
                yield slice(number, number + 1), slice(*pixels), part
