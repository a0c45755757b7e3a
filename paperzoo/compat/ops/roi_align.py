"""RoIAlign, forward and backward: bilinear samples on a grid in each bin of a RoI.

The samples' rows and columns are chosen independently of each other, so a bin's mean is
a weighted sum over rows x columns of pixels. That is one `embedding_bag` over the image
as a table of pixels; the gradient is another one, over the pooled gradients, with the
entries sorted by pixel.

Differs: mmcv computes the positions of half precision RoIs in half precision, and its
CPU kernel has no bfloat16; here both are computed in float32.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops import rois as common
from paperzoo.compat.ops.roi_align_max import max_pool, max_pool_gradient
from paperzoo.compat.ops.roi_grid import (
    Geometry,
    Part,
    parts,
    sample_positions,
    two_taps,
)
from paperzoo.compat.ops.widen import wide

# mmcv's number for the pooling mode; the maximum is 0.
_MEAN = 1
# Entries of all bags that are looked up at once: bounds the memory.
_LIMIT = 1 << 22


class Bags(NamedTuple):
    """The entries of all bins of some RoIs, one after another, and how many a bin has.

    A pooled value is the sum of weights x pixels in its bag of entries.
    """

    rois: Int[Tensor, ' part']
    pixels: Int[Tensor, ' entries']
    weights: Float[Tensor, ' entries']
    sizes: Int[Tensor, ' bags']


def window_taps(
    positions: Float[Tensor, 'part bins samples'], size: int
) -> tuple[Int[Tensor, 'part bins taps'], Float[Tensor, 'part bins taps']]:
    """Return the pixels under all samples of a bin, where these are dense.

    n samples at most one pixel apart lie over n + 1 consecutive pixels, fewer than the
    2n of the samples one by one.
    """
    taps = min(positions.size(-1) + 1, size)
    inside = (positions >= -1) & (positions <= size)
    clipped = torch.where(inside, positions, positions.clamp(0, size - 1))
    clipped = clipped.clamp(0, size - 1)
    first = clipped[..., :1].floor().clamp(max=size - taps)
    moved = clipped - first
    # The clamp is for a rounded position that is a hair beyond the window.
    low = moved.floor().clamp(0, max(taps - 2, 0))
    share = (moved - low) * inside
    low = low.long()
    weights = positions.new_zeros(*positions.shape[:-1], taps)
    weights.scatter_add_(-1, low, inside.to(share) - share)
    weights.scatter_add_(-1, (low + 1).clamp(max=taps - 1), share)
    pixels = first.long() + torch.arange(taps, device=positions.device)
    return pixels, weights


def part_entries(
    part: Part, first: Int[Tensor, ' part'], shape: torch.Size, geometry: Geometry
) -> tuple[Int[Tensor, 'bags entries'], Float[Tensor, 'bags entries']]:
    """Return the pixels and weights whose sum is the mean of each bin.

    Args:
        part: The RoIs.
        first: Number of the first pixel of each RoI's image.
        shape: Shape of the batch of images.
        geometry: Gives the number of bins.
    """
    taps = []
    for axis, size in enumerate(shape[2:]):
        positions = sample_positions(part, axis, geometry.bins[axis])
        if part.dense[axis]:
            pixels, weights = window_taps(positions, size)
        else:
            pixels, weights = (x.flatten(2) for x in two_taps(positions, size))
        taps.append((pixels, weights / part.samples[axis]))
    (y, weight_y), (x, weight_x) = taps
    small = common.pixels_of(shape) < 1 << 31
    kind = torch.int32 if small else torch.int64
    row = (y * shape[3] + first[:, None, None]).to(kind)
    pixels = row[:, :, None, :, None] + x.to(kind)[:, None, :, None, :]
    weights = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    return pixels.flatten(0, 2).flatten(1), weights.flatten(0, 2).flatten(1)


def mean_bags(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size, geometry: Geometry
) -> Iterator[Bags]:
    """Yield the bins of all RoIs as bags of pixels, at most about `_LIMIT` at once."""
    first = common.first_pixels(rois, shape)
    waiting: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in parts(rois, geometry):
        entries = part_entries(part, first[part.rows], shape, geometry)
        waiting.append((part.rows, *entries))
        if sum(pixels.numel() for _, pixels, _ in waiting) > _LIMIT:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts_of: list[tuple[Tensor, Tensor, Tensor]]) -> Bags:
    rows, pixels, weights = zip(*parts_of, strict=True)
    sizes = torch.cat([x.new_full((len(x),), x.size(1)) for x in pixels])
    flat = torch.cat([x.flatten() for x in pixels])
    return Bags(torch.cat(rows), flat, torch.cat([x.flatten() for x in weights]), sizes)


def mean_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    pooled: Float[Tensor, 'rois channels bins_y bins_x'],
) -> None:
    """Write the mean of the samples in each bin; 0 without samples."""
    flat = pooled.view(*pooled.shape[:2], geometry.bins[0] * geometry.bins[1])
    for bags in mean_bags(rois, image.shape, geometry):
        starts = bags.sizes.cumsum(0, dtype=bags.sizes.dtype) - bags.sizes
        for block, table in common.tables(image):
            sums = common.weighted_sums(table, bags.pixels, bags.weights, starts)
            sums = sums.view(len(bags.rois), -1, table.size(1)).transpose(1, 2)
            flat[bags.rois, block] = sums.to(flat.dtype)


def mean_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    grad_image: Float[Tensor, 'batch channels height width'],
) -> None:
    """Write the gradient of the image from that of the bins' means."""
    numbers = torch.arange(common.pixels_of(grad_image.shape), device=rois.device)
    area = geometry.bins[0] * geometry.bins[1]
    fresh = True
    for bags in mean_bags(rois, grad_image.shape, geometry):
        bins = bags.rois[:, None] * area + torch.arange(area, device=rois.device)
        bins = bins.to(bags.sizes.dtype).flatten()
        # Known beforehand: asking for the sum of the sizes would stop the host.
        count = len(bags.pixels)
        bins = bins.repeat_interleave(bags.sizes, output_size=count)
        by_pixel, order = bags.pixels.sort()
        starts = torch.searchsorted(by_pixel, numbers.to(by_pixel.dtype))
        starts, bins, weights = starts.to(bins.dtype), bins[order], bags.weights[order]
        for block in common.channel_blocks(grad_image.shape):
            # Channels first, whole bins at a time; then a matrix is transposed.
            planes = grad_output[:, block].flatten(2).transpose(0, 1)
            planes = wide(planes.flatten(1))
            table = planes.new_empty(planes.shape[::-1])
            common.transpose(planes, table)
            sums = common.weighted_sums(table, bins, weights, starts)
            common.add_rows(sums, grad_image[:, block], fresh)
        fresh = False
    if fresh:
        grad_image.zero_()


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled RoIs and, for the maximum (mode 0), the places it comes from."""
    common.check_rois('roi_align', rois, input.shape)
    if output.numel() == 0:
        return
    bins = (aligned_height, aligned_width)
    geometry = Geometry(bins, spatial_scale, sampling_ratio, aligned)
    rois = rois.to(wide(input).dtype)
    if pool_mode == _MEAN:
        mean_pool(input, rois, geometry, output)
    else:
        max_pool(input, rois, geometry, (output, argmax_y, argmax_x))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the image."""
    if grad_output.numel() == 0:
        grad_input.zero_()
        return
    bins = (aligned_height, aligned_width)
    geometry = Geometry(bins, spatial_scale, sampling_ratio, aligned)
    rois = rois.to(wide(grad_output).dtype)
    if pool_mode == _MEAN:
        mean_pool_gradient(grad_output, rois, geometry, grad_input)
    else:
        places = argmax_y, argmax_x
        max_pool_gradient(grad_output, rois, geometry, places, grad_input)
