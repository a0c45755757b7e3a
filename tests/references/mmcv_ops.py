"""Slow versions of mmcv's compiled ops, each written from its definition."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor


def iou(first: Sequence, second: Sequence, offset: int) -> float:
    """Overlap of two boxes (left, top, right, bottom), in the boxes' own precision."""

    def area(box: Sequence) -> float:
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    zero = type(first[0])(0)
    width = min(first[2], second[2]) - max(first[0], second[0]) + offset
    height = min(first[3], second[3]) - max(first[1], second[1]) + offset
    inter = max(width, zero) * max(height, zero)
    with np.errstate(invalid='ignore', divide='ignore'):
        return inter / (area(first) + area(second) - inter)


def by_score(scores: Tensor) -> list[int]:
    """Indices by falling score; equal ones in the order of PyTorch's sort, as mmcv."""
    order = scores.sort(descending=True)[1].tolist()
    assert sorted(order) == list(range(len(scores)))
    assert all(scores[i] >= scores[j] for i, j in pairwise(order))
    return order


def greedy_nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> Tensor:
    """Take the best box, drop what it overlaps by more than the threshold, repeat."""
    rows = list(boxes.numpy())
    limit = boxes.numpy().dtype.type(threshold)
    left = by_score(scores)
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if not iou(rows[best], rows[i], offset) > limit]
    return torch.tensor(kept, dtype=torch.long)


def focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """-a (1 - p)^gamma log p, with p the probability given to the truth."""
    loss = torch.zeros_like(logits)
    for row, label in enumerate(target.tolist()):
        for column in range(logits.size(1)):
            p = 1 / (1 + math.exp(-logits[row, column].item()))
            truth, a = (p, alpha) if label == column else (1 - p, 1 - alpha)
            loss[row, column] = -a * (1 - truth) ** gamma * math.log(truth)
        if weight is not None and 0 <= label < logits.size(1):
            loss[row] *= weight[label]
    return loss


def bilinear(image: Tensor, y: float, x: float) -> Tensor | float:
    """Value of an image between its pixels; outside it is zero."""
    value: Tensor | float = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.size(0) and 0 <= column < image.size(1):
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                value = value + share * image[row, column].item()
    return value


def deform_conv(
    image: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Each output value, from the samples of each tap and channel."""
    out_channels, per_group, kernel_h, kernel_w = weight.shape
    batch, _, out_h, out_w = offset.shape
    channels_per_deform = image.size(1) // deform_groups
    output = image.new_zeros(batch, out_channels, out_h, out_w)
    for n, o, i, j in np.ndindex(*output.shape):
        total: Any = 0.0 if bias is None else bias[o].item()
        for c, u, v in np.ndindex(per_group, kernel_h, kernel_w):
            channel = o // (out_channels // groups) * per_group + c
            deform = channel // channels_per_deform
            tap = deform * kernel_h * kernel_w + u * kernel_w + v
            dy, dx = offset[n, 2 * tap : 2 * tap + 2, i, j].tolist()
            y = i * stride[0] - padding[0] + u * dilation[0] + dy
            x = j * stride[1] - padding[1] + v * dilation[1] + dx
            sample = bilinear(image[n, channel], y, x)
            if mask is not None:
                sample = sample * mask[n, tap, i, j].item()
            total = total + weight[o, c, u, v].item() * sample
        output[n, o, i, j] = total
    return output
