"""Slow versions of mmcv's ops on regions of interest, written from their definitions.

The results are differentiable, so that autograd gives the gradients to compare with.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOWEST = -10000.0


def at_position(image: Tensor, y: float, x: float) -> Tensor:
    """Value of all channels between pixels; a border of one pixel repeats the edge."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return image.new_zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    value = image.new_zeros(len(image))
    for row, share_y in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        columns = (left, 1 - (x - left)), (min(left + 1, width - 1), x - left)
        for column, share_x in columns:
            value = value + share_y * share_x * image[:, row, column]
    return value


def roi_align(
    image: Tensor,
    rois: Sequence[Sequence[float]],
    bins: tuple[int, int],
    scale: float,
    sampling: int,
    mode: str,
    aligned: bool,
) -> Tensor:
    """Each bin of each RoI, sample by sample."""
    pooled = []
    for index, *edges in rois:
        left, top, right, bottom = (x * scale - (0.5 if aligned else 0) for x in edges)
        size = (bottom - top, right - left)
        if not aligned:
            size = (max(size[0], 1.0), max(size[1], 1.0))
        step = [s / number for s, number in zip(size, bins, strict=True)]
        count = [sampling if sampling > 0 else math.ceil(s) for s in step]
        for i in range(bins[0]):
            for j in range(bins[1]):
                samples = [
                    at_position(
                        image[int(index)],
                        top + i * step[0] + (k + 0.5) * step[0] / count[0],
                        left + j * step[1] + (m + 0.5) * step[1] / count[1],
                    )
                    for k in range(count[0])
                    for m in range(count[1])
                ]
                pooled.append(_reduce(samples, image, mode))
    shape = (len(rois), *bins, image.size(1))
    flat = torch.stack(pooled) if pooled else image.new_zeros(0)
    return flat.view(shape).permute(0, 3, 1, 2)


def _reduce(samples: list[Tensor], image: Tensor, mode: str) -> Tensor:
    """Mean (0 of nothing) or maximum, of which the first of equal samples counts."""
    start = 0.0 if mode == 'avg' else LOWEST
    result = image.new_full((image.size(1),), start)
    for sample in samples:
        if mode == 'avg':
            result = result + sample / len(samples)
        else:
            result = torch.where(sample > result, sample, result)
    return result


def roi_pool(
    image: Tensor,
    rois: Sequence[Sequence[float]],
    bins: tuple[int, int],
    scale: float,
) -> Tensor:
    """Each bin of each RoI, pixel by pixel; an empty bin is 0."""
    pooled = []
    height, width = image.shape[2:]
    for index, left, top, right, bottom in rois:
        start = (top * scale, left * scale)
        size = ((bottom + 1) * scale - start[0], (right + 1) * scale - start[1])
        step = [s / number for s, number in zip(size, bins, strict=True)]
        for i in range(bins[0]):
            for j in range(bins[1]):
                rows = _bin(i, step[0], start[0], height)
                columns = _bin(j, step[1], start[1], width)
                best = None
                for pixel in ((y, x) for y in rows for x in columns):
                    value = image[int(index), :, *pixel]
                    if best is not None:
                        value = torch.where(value > best, value, best)
                    best = value
                if best is None or min(size) <= 0:
                    best = image.new_zeros(image.size(1))
                pooled.append(best)
    shape = (len(rois), *bins, image.size(1))
    flat = torch.stack(pooled) if pooled else image.new_zeros(0)
    return flat.view(shape).permute(0, 3, 1, 2)


def _bin(number: int, step: float, start: float, size: int) -> range:
    first = min(max(math.floor(number * step + start), 0), size)
    last = min(max(math.ceil((number + 1) * step + start), 0), size)
    return range(first, last)
