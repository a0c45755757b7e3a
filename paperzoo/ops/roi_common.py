"""What the pooling of regions of interest (RoIs) needs: image as rows, equal RoIs.

A pooled value is a sum or a maximum over pixels, the same pixels for all channels. With
one contiguous row of channels per pixel each step is one vector operation.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.memory import empty
from paperzoo.utils.errors import UserError
from paperzoo.utils.precision import at_least_float32

# Samples that are computed at once: their positions and weights stay in the cache.
_CHUNK = 1 << 16


# Numbers in a block of channels of an image: 8 MiB, of which a cache keeps most.
_BLOCK = 1 << 21
# The least channels in a block, where there are so many: a vector of the CPU.
_NARROW = 16


class Bags(NamedTuple):
    """Weighted rows of a table, bag after bag, for `weighted_sums`.

    Bag n are the entries from bounds[n] to before bounds[n + 1].
    """

    rows: Int[Tensor, ' entries']
    weights: Float[Tensor, ' entries']
    bounds: Int[Tensor, ' bags_and_1']


def pixels_of(shape: torch.Size) -> int:
    """Return the number of pixels of a batch of images of this shape."""
    return shape[0] * shape[2] * shape[3]


def index_type(shape: torch.Size) -> torch.dtype:
    """Return the shorter of the types that can number the pixels of these images."""
    return torch.int32 if pixels_of(shape) < 1 << 31 else torch.int64


def channel_blocks(shape: torch.Size) -> list[slice]:
    """Split the channels so that a table of a block stays small.

    Large tables cost more in fresh memory and cache misses than in arithmetic.
    """
    # Whole vectors: `embedding_bag` is slow at the rest of a row. Wider rows make the
    # way from and to channels first slow.
    whole = _BLOCK // max(pixels_of(shape), 1) // _NARROW * _NARROW
    width = min(max(_NARROW, whole), 4 * _NARROW)
    return [slice(n, n + width) for n in range(0, shape[1], width)]


def transpose(
    matrix: Float[Tensor, 'rows columns'], into: Float[Tensor, 'columns rows']
) -> None:
    """Write the transpose of a matrix; on a CPU OpenCV takes a quarter of torch's time.

    Args:
        matrix: What to transpose.
        into: Contiguous rows; both of them float32 or float64.
    """
    if into.device.type == 'cpu' and into.numel() > 0:
        # OpenCV moves eight rows at a time faster than sixteen.
        step = 8 if len(matrix) == _NARROW else max(matrix.shape)
        for rows, columns in zip(matrix.split(step), into.split(step, 1), strict=True):
            cv2.transpose(rows.detach().numpy(), columns.numpy())
    else:
        into.copy_(matrix.t())


def tables(
    image: Float[Tensor, 'batch channels height width'],
) -> Iterator[tuple[slice, Float[Tensor, 'pixels block_channels']]]:
    """Yield blocks of channels with one contiguous row of these for each pixel.

    A table is valid until the next one: they share their memory, because fresh memory
    costs more than filling it.
    """
    image = at_least_float32(image)
    if image.permute(0, 2, 3, 1).is_contiguous():  # channels_last: nothing is moved
        yield slice(None), image.permute(0, 2, 3, 1).flatten(0, 2)
        return
    planes = image.flatten(2)
    memory: Tensor | None = None
    for block in channel_blocks(image.shape):
        part = planes[:, block]
        if memory is None or memory.size(2) != part.size(1):
            memory = empty(part, len(part), part.size(2), part.size(1))
        for matrix, into in zip(part, memory, strict=True):
            transpose(matrix, into)
        yield block, memory.flatten(0, 1)


def add_rows(
    rows: Float[Tensor, 'pixels channels'],
    planes: Float[Tensor, 'batch channels image_pixels'],
    zero: bool,
) -> None:
    """Add rows of pixels to planes of pixels, of which may be known that they are 0."""
    parts = rows.view(len(planes), -1, rows.size(1))
    direct = zero and planes.dtype == rows.dtype
    for into, part in zip(planes, parts, strict=True):
        turned = into if direct else rows.new_empty(into.shape)
        transpose(part, turned)
        if not direct:
            into.add_(turned)


def weighted_sums(
    table: Float[Tensor, 'rows channels'], bags: Bags
) -> Float[Tensor, 'bags channels']:
    """Return for each bag the weighted sum of the rows it names."""
    args = False, 0, False, bags.weights, True
    return torch.embedding_bag(table, bags.rows, bags.bounds, *args)[0]


def first_pixels(
    rois: Float[Tensor, 'rois 5'], shape: torch.Size
) -> Int[Tensor, ' rois']:
    """Return the number of the first pixel of each RoI's image."""
    return rois[:, 0].long() * (shape[2] * shape[3])


def check_rois(op: str, rois: Float[Tensor, 'rois 5'], shape: torch.Size) -> None:
    """Raise if the images have no pixels, or a RoI is not finite or of no image.

    On a GPU a look at the RoIs would stop the host until the device is done: there only
    the shape of the images is checked.
    """
    batch, _, height, width = shape
    if len(rois) > 0 and height * width == 0:
        raise UserError(
            f'{op}: the images have {height} x {width} pixels, and there are '
            f'{len(rois)} RoIs on them. Make the images larger or pass no RoI.'
        )
    if rois.is_cuda:
        return
    finite = rois.isfinite().all(dim=1)
    index = rois[:, 0].nan_to_num(-1).trunc()
    bad = ~(finite & (index >= 0) & (index < batch))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise UserError(
            f'{op}: rois[{row}] is {rois[row].tolist()}; a RoI is (image index, left, '
            f'top, right, bottom), all finite, and the index is below {batch}, the '
            f'number of images. Correct the boxes or the index in front of them.'
        )


def equal_rows(
    table: Int[Tensor, 'rois columns'],
) -> Iterator[tuple[Int[Tensor, ' equal'], list[int]]]:
    """Yield each different row of a table with the places where it stands.

    How many there are decides what is computed next: on a GPU the host waits here.
    """
    if len(table) == 0:
        return
    # One number for each row: `unique` of whole rows is many times slower.
    owner = torch.zeros_like(table[:, 0])
    for column in table.unbind(dim=1):
        index = column.unique(return_inverse=True)[1]
        owner = owner * (index.max() + 1) + index
    owner, counts = owner.unique(return_inverse=True, return_counts=True)[1:]
    groups = owner.argsort(stable=True).split(counts.tolist())
    firsts = table[torch.stack([group[0] for group in groups])]
    yield from zip(groups, firsts.tolist(), strict=True)


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
