"""Slow versions of more of mmcv's ops, written from their definitions, loop by loop.

The results are differentiable, so that autograd gives the gradients to compare with.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from references.mmcv_roi_ops import at_position
from torch import Tensor


def carafe(x: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    batch, channels, height, width = x.shape
    rows = []
    for n, c, y, z in product(
        range(batch), range(channels), range(height * scale), range(width * scale)
    ):
        total = x.new_zeros(())
        for a, b in product(range(kernel), range(kernel)):
            row, column = y // scale + a - kernel // 2, z // scale + b - kernel // 2
            if 0 <= row < height and 0 <= column < width:
                group = c // (channels // groups)
                weight = masks[n, (group * kernel + a) * kernel + b, y, z]
                total = total + x[n, c, row, column] * weight
        rows.append(total)
    shape = batch, channels, height * scale, width * scale
    return (torch.stack(rows) if rows else x.new_zeros(0)).view(shape)


def psa_mask(mask: Tensor, window: tuple[int, int], distribute: bool) -> Tensor:
    batch, _, height, width = mask.shape
    out = [
        [[mask.new_zeros(()) for _ in range(height * width)] for _ in range(batch)]
        for _ in range(height * width)
    ]
    for n, h, w in product(range(batch), range(height), range(width)):
        for a, b in product(range(window[0]), range(window[1])):
            row, column = h + a - (window[0] - 1) // 2, w + b - (window[1] - 1) // 2
            if 0 <= row < height and 0 <= column < width:
                value = mask[n, a * window[1] + b, h, w]
                own, target = h * width + w, row * width + column
                if distribute:
                    own, target = target, own
                out[target][n][own] = value
    flat = [torch.stack([torch.stack(row) for row in column]) for column in out]
    return torch.stack(flat, dim=1).view(batch, height * width, height, width)


def masked_convolution(
    image: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]
) -> Tensor:
    """One image, pixel by pixel; 0 where the mask is not positive."""
    _, height, width = image.shape
    out = image.new_zeros(len(weight), height, width)
    for y, x in product(range(height), range(width)):
        if mask[y, x] <= 0:
            continue
        total = bias.clone()
        for a, b in product(range(weight.size(2)), range(weight.size(3))):
            row, column = y + a - padding[0], x + b - padding[1]
            if 0 <= row < height and 0 <= column < width:
                total += weight[:, :, a, b] @ image[:, row, column]
        out[:, y, x] = total
    return out


def _bins(
    size: Sequence[float], bins: tuple[int, int], sampling: int
) -> tuple[list[float], list[int]]:
    """Size of the bins and number of samples in them, on both axes."""
    step = [s / number for s, number in zip(size, bins, strict=True)]
    return step, [sampling if sampling > 0 else math.ceil(s) for s in step]


def _mean(image: Tensor, places: list[tuple[float, float]]) -> Tensor:
    samples = [at_position(image, y, x) for y, x in places]
    return sum(samples, image.new_zeros(len(image))) / max(1, len(samples))


def deform_roi_pool(
    image: Tensor,
    rois: Sequence[Sequence[float]],
    offset: Tensor | None,
    bins: tuple[int, int],
    scale: float,
    sampling: int,
    gamma: float,
) -> Tensor:
    pooled = []
    for n, (index, *edges) in enumerate(rois):
        left, top, right, bottom = (edge * scale - 0.5 for edge in edges)
        size = bottom - top, right - left
        step, count = _bins(size, bins, sampling)
        for i, j in product(range(bins[0]), range(bins[1])):
            move_x, move_y = (0, 0) if offset is None else offset[n, :, i, j].tolist()
            y = top + i * step[0] + gamma * size[0] * move_y
            x = left + j * step[1] + gamma * size[1] * move_x
            places = [
                (y + (k + 0.5) * step[0] / count[0], x + (m + 0.5) * step[1] / count[1])
                for k in range(count[0])
                for m in range(count[1])
            ]
            pooled.append(_mean(image[int(index)], places))
    shape = len(rois), *bins, image.size(1)
    flat = torch.stack(pooled) if pooled else image.new_zeros(0)
    return flat.view(shape).permute(0, 3, 1, 2)


def roi_align_rotated(
    image: Tensor,
    rois: Sequence[Sequence[float]],
    bins: tuple[int, int],
    scale: float,
    sampling: int,
    aligned: bool,
    clockwise: bool,
) -> Tensor:
    pooled = []
    for index, *box, angle in rois:
        centre_x, centre_y = (edge * scale - 0.5 * aligned for edge in box[:2])
        size = [edge * scale for edge in (box[3], box[2])]
        if not aligned:
            size = [max(edge, 1.0) for edge in size]
        turn = angle if clockwise else -angle
        step, count = _bins(size, bins, sampling)
        for i, j in product(range(bins[0]), range(bins[1])):
            places = []
            for k, m in product(range(count[0]), range(count[1])):
                down = -size[0] / 2 + (i + (k + 0.5) / count[0]) * step[0]
                right = -size[1] / 2 + (j + (m + 0.5) / count[1]) * step[1]
                y = centre_y + down * math.cos(turn) + right * math.sin(turn)
                x = centre_x + right * math.cos(turn) - down * math.sin(turn)
                places.append((y, x))
            pooled.append(_mean(image[int(index)], places))
    shape = len(rois), *bins, image.size(1)
    flat = torch.stack(pooled) if pooled else image.new_zeros(0)
    return flat.view(shape).permute(0, 3, 1, 2)


def rotated_polygon(box: Sequence[float]) -> list[tuple[float, float]]:
    x, y, width, height, angle = box
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [
        (
            x + math.cos(angle) * width / 2 * a - math.sin(angle) * height / 2 * b,
            y + math.sin(angle) * width / 2 * a + math.cos(angle) * height / 2 * b,
        )
        for a, b in signs
    ]


def area(polygon: Sequence[tuple[float, float]]) -> float:
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs) / 2


def rotated_overlap(
    box: Sequence[float], other: Sequence[float], of_first: bool
) -> float:
    """Cut one rectangle by the four sides of the other, one after the other."""
    areas = box[2] * box[3], other[2] * other[3]
    if min(areas) < 1e-14:
        return 0.0
    polygon, sides = rotated_polygon(box), rotated_polygon(other)
    for start, end in zip(sides, [*sides[1:], *sides[:1]], strict=True):
        polygon = _cut(polygon, start, end)
    shared = area(polygon) if len(polygon) > 2 else 0.0
    return shared / (areas[0] if of_first else areas[0] + areas[1] - shared)


def _cut(polygon: list, start: Sequence[float], end: Sequence[float]) -> list:
    """Keep what lies left of a line."""

    def side(point: Sequence[float]) -> float:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (
            point[0] - start[0]
        )

    kept = []
    for one, two in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        a, b = side(one), side(two)
        if a >= 0:
            kept.append(one)
        if a * b < 0:
            share = a / (a - b)
            kept.append(
                tuple(p + share * (q - p) for p, q in zip(one, two, strict=True))
            )
    return kept
