"""K-Net in plain loops over Python numbers, written from the paper; slow on purpose."""

from itertools import permutations
from math import exp

Matrix = list[list[float]]


def sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit)) if logit > -700 else 0.0


def group_features(features: Matrix, logits: Matrix, thr: float) -> Matrix:
    """Sum over each kernel's pixels; features is (channels, pixels)."""
    sums = []
    for mask in logits:
        members = [at for at, logit in enumerate(mask) if sigmoid(logit) > thr]
        sums.append([sum(channel[at] for at in members) for channel in features])
    return sums


def dynamic_convolution(
    features: list[Matrix], kernels: list[list[Matrix]]
) -> list[Matrix]:
    """The masks; features is (channels, height, width), kernels (n, channels, ...)."""
    height, width = len(features[0]), len(features[0][0])
    reach = len(kernels[0][0]) // 2
    masks = []
    for kernel in kernels:
        mask = [[0.0] * width for _ in range(height)]
        for y in range(height):
            for x in range(width):
                for plane, taps in zip(features, kernel, strict=True):
                    for dy in range(-reach, reach + 1):
                        for dx in range(-reach, reach + 1):
                            if 0 <= y + dy < height and 0 <= x + dx < width:
                                tap = taps[dy + reach][dx + reach]
                                mask[y][x] += tap * plane[y + dy][x + dx]
        masks.append(mask)
    return masks


def dice(pred: list[float], target: list[float], eps: float, naive: bool) -> float:
    shared = sum(p * t for p, t in zip(pred, target, strict=True))
    if naive:
        return 1 - (2 * shared + eps) / (sum(pred) + sum(target) + eps)
    squares = sum(p * p for p in pred) + eps + sum(t * t for t in target) + eps
    return 1 - 2 * shared / squares


def agreement(pred: list[float], target: list[float]) -> float:
    """Mean probability of the right answer."""
    right = [p * t + (1 - p) * (1 - t) for p, t in zip(pred, target, strict=True)]
    return sum(right) / len(right)


def cheapest(cost: Matrix) -> float:
    """Sum of the costs of the best matching, by trying all of them."""
    rows, columns = len(cost), len(cost[0])
    if rows < columns:
        cost = [list(column) for column in zip(*cost, strict=True)]
        rows, columns = columns, rows
    return min(
        sum(cost[row][column] for column, row in enumerate(chosen))
        for chosen in permutations(range(rows), columns)
    )


def panoptic(
    scores: list[float],
    labels: list[int],
    probs: list[list[float]],
    things: int,
    void: int,
    score_thr: float,
    overlap_thr: float,
    filter_first: bool,
) -> list[int]:
    """The id of each pixel; probs is (kernels, pixels)."""
    low = [
        label < things and score < score_thr
        for label, score in zip(labels, scores, strict=True)
    ]
    winners = []
    for at in range(len(probs[0])):
        winner = None
        for kernel, prob in enumerate(probs):
            if filter_first and low[kernel]:
                continue
            bid = scores[kernel] * prob[at]
            if winner is None or bid > scores[winner] * probs[winner][at]:
                winner = kernel
        winners.append(winner)
    ids, number = {}, 0
    for kernel in sorted(range(len(scores)), key=lambda k: -scores[k]):
        area = sum(prob >= 0.5 for prob in probs[kernel])
        kept = winners.count(kernel)
        if low[kernel] or not kept or not area or kept / area < overlap_thr:
            continue
        ids[kernel] = labels[kernel] + 1000 * number
        number += 1
    return [ids.get(winner, void) for winner in winners]
