"""The grid of samples that RoIAlign lays on a region of interest (RoI)."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops.rois import equal_rows
from paperzoo.errors import UserError

# Samples that are computed at once: their positions and weights stay in the cache.
_CHUNK = 1 << 16


class Geometry(NamedTuple):
    """How a RoI is laid on the image; `sampling` 0 is about one sample per pixel."""

    bins: tuple[int, int]
    scale: float
    sampling: int
    aligned: bool


class Part(NamedTuple):
    """RoIs that share their numbers of samples per bin, vertical and horizontal."""

    rows: Int[Tensor, ' part']
    samples: tuple[int, int]
    start: Float[Tensor, 'part yx=2']
    step: Float[Tensor, 'part yx=2']


def pair(first: int, second: int, device: torch.device) -> Int[Tensor, '2']:
    """Return two numbers, made on the device: a copy to a GPU would stop the host."""
    return torch.arange(2, device=device) * (second - first) + first


def bins_of(
    rois: Float[Tensor, 'rois 5'], geometry: Geometry
) -> tuple[Float[Tensor, 'rois yx=2'], Float[Tensor, 'rois yx=2']]:
    """Return the upper left corner of each RoI and the size of its bins, in pixels."""
    corners = rois[:, [2, 1, 4, 3]] * geometry.scale - 0.5 * geometry.aligned
    size = corners[:, 2:] - corners[:, :2]
    if not geometry.aligned:
        size = size.clamp(min=1)
    elif not rois.is_cuda and (size < 0).any():
        row = int((size < 0).any(dim=1).nonzero()[0])
        raise UserError(
            f'roi_align: rois[{row}] is {rois[row].tolist()}: its right or bottom edge '
            f'is before its left or top edge. With aligned=True the size must not be '
            f'negative: correct the boxes (image index, left, top, right, bottom).'
        )
    return corners[:, :2], size / pair(*geometry.bins, rois.device)


def samples_of(
    step: Float[Tensor, 'rois yx=2'], geometry: Geometry
) -> Int[Tensor, 'rois yx=2']:
    """Return the number of samples in bins of these sizes; none if not finite."""
    if geometry.sampling > 0:
        return torch.full_like(step, geometry.sampling).long()
    # mmcv rounds in float32 whatever the precision of the RoIs.
    return step.float().nan_to_num(0, 0, 0).ceil().clamp(min=0).long()


def equal_numbers(
    numbers: Int[Tensor, 'rois yx=2'], geometry: Geometry, fixed: int
) -> Iterator[tuple[Int[Tensor, ' equal'], list[int]]]:
    """Yield the RoIs whose numbers are equal on both axes, and these numbers.

    Args:
        numbers: Of samples or of what follows from them.
        geometry: With a fixed sampling on a GPU there is no look at the numbers.
        fixed: All the numbers are this in that case.
    """
    if geometry.sampling > 0 and numbers.is_cuda:
        yield torch.arange(len(numbers), device=numbers.device), [fixed, fixed]
    else:
        yield from equal_rows(numbers)


def parts(rois: Float[Tensor, 'rois 5'], geometry: Geometry) -> Iterator[Part]:
    """Split the RoIs into parts that are computed at once.

    Args:
        rois: Image index, left, top, right and bottom edge.
        geometry: With a fixed sampling on a GPU the split needs no look at the RoIs.
    """
    start, step = bins_of(rois, geometry)
    samples = samples_of(step, geometry)
    for members, (high, broad) in equal_numbers(samples, geometry, geometry.sampling):
        each = geometry.bins[0] * geometry.bins[1] * high * broad
        for rows in members.split(max(1, _CHUNK // max(each, 1))):
            yield Part(rows, (high, broad), start[rows], step[rows])


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
    """
    start, step, samples = (x[..., None, None] for x in (start, step, samples))
    before, within = (
        torch.arange(n, device=step.device, dtype=step.dtype) for n in shape
    )
    within = (within + 0.5) * step / samples.clamp(min=1)
    return start + before[:, None] * step + within


def two_taps(
    positions: Float[Tensor, '*samples'], size: int | Int[Tensor, '*#samples']
) -> tuple[Int[Tensor, '*samples 2'], Float[Tensor, '*samples 2']]:
    """Return the two pixels around each position on one axis, and their weights.

    A position up to a pixel outside counts as the border, beyond that as nothing.
    """
    inside = (positions >= -1) & (positions <= size)
    clipped = torch.where(inside, positions, 0).clamp(min=0).clamp(max=size - 1)
    low = clipped.floor()
    share = clipped - low
    weights = torch.stack((1 - share, share), dim=-1) * inside[..., None]
    low = low.long()
    return torch.stack((low, (low + 1).clamp(max=size - 1)), dim=-1), weights
