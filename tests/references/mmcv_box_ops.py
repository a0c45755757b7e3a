"""Slow versions of mmcv's other ops on boxes and classes, from their definitions."""

import math

import torch
from references.mmcv_ops import by_score, iou
from torch import Tensor


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    sigma: float,
    min_score: float,
    method: str,
    offset: int,
) -> tuple[list[int], list[float]]:
    """Take the best box to the front, lower the others' scores, drop low ones, repeat.

    The last box takes the place of a dropped one, as the front one that of the best.
    Nothing is better than a score that is not a number, nor is that better than others.
    """
    kind = boxes.numpy().dtype.type
    rows = zip(list(boxes.numpy()), list(scores.numpy()), strict=True)
    left = [[box, score, index] for index, (box, score) in enumerate(rows)]
    indices, found = [], []
    while left:
        best = max(range(len(left)), key=lambda i: left[i][1])  # the first of equals
        left[0], left[best] = left[best], left[0]
        top = left.pop(0)
        indices.append(top[2])
        found.append(top[1].item())
        place = 0
        while place < len(left):
            overlap = iou(top[0], left[place][0], offset)
            factor = kind(1)
            if method == 'gaussian':
                factor = kind(math.exp(-(overlap * overlap) / kind(sigma)))
            elif overlap >= kind(threshold):
                factor = kind(0) if method == 'naive' else kind(1) - overlap
            left[place][1] = left[place][1] * factor
            if not left[place][1] < kind(min_score):  # so is what is not a number
                place += 1
            elif place == len(left) - 1:
                left.pop()
            else:
                left[place] = left.pop()
    return indices, found


def nms_match(boxes: Tensor, scores: Tensor, threshold: float) -> list[list[int]]:
    """Take the best box and those that overlap it, repeat."""
    rows = list(boxes.numpy())
    limit = boxes.numpy().dtype.type(threshold)
    left = by_score(scores)
    groups = []
    while left:
        best = left.pop(0)
        beaten = [i for i in left if iou(rows[best], rows[i], 0) >= limit]
        left = [i for i in left if i not in beaten]
        groups.append([best, *beaten])
    return groups


def softmax_focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """-alpha w (1 - p)^gamma log p of each row, p the softmax of its class."""
    loss = torch.zeros(len(logits), dtype=logits.dtype)
    for row, label in enumerate(target.tolist()):
        if 0 <= label < logits.size(1):
            powers = [math.exp(x) for x in logits[row].tolist()]
            p = powers[label] / sum(powers)
            factor = alpha * (1.0 if weight is None else weight[label].item())
            loss[row] = -factor * (1 - p) ** gamma * math.log(p)
    return loss
