"""FCOS in plain loops over Python numbers, written from the paper; slow on purpose."""

from math import exp, log, log1p, sqrt

Box = tuple[float, float, float, float]
Point = tuple[float, float]


def distances(point: Point, box: Box) -> Box:
    """Eq. 1."""
    x, y = point
    x0, y0, x1, y1 = box
    return x - x0, y - y0, x1 - x, y1 - y


def centerness(left: float, top: float, right: float, bottom: float) -> float:
    """Eq. 3."""
    across = min(left, right) / max(left, right)
    down = min(top, bottom) / max(top, bottom)
    return sqrt(across * down)


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def near_centre(point: Point, box: Box, radius: float) -> bool:
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return all(abs(point[axis] - middle[axis]) < radius for axis in (0, 1))


def assign(
    points: list[list[Point]],
    strides: list[float],
    ranges: list[tuple[float, float]],
    boxes: list[Box],
    radius: float | None = None,
) -> list[int]:
    """Which box each point learns: 0 for none, k for box k - 1."""
    chosen = []
    for level, stride, (low, high) in zip(points, strides, ranges, strict=True):
        for point in level:
            best = 0
            for number, box in enumerate(boxes, start=1):
                ltrb = distances(point, box)
                fits = min(ltrb) > 0 and low <= max(ltrb) <= high
                if radius is not None:
                    fits = fits and near_centre(point, box, radius * stride)
                if fits and (not best or area(box) < area(boxes[best - 1])):
                    best = number
            chosen.append(best)
    return chosen


def iou_and_giou(one: Box, other: Box) -> tuple[float, float]:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    union = area(one) + area(other) - width * height
    around = area(
        (
            min(one[0], other[0]),
            min(one[1], other[1]),
            max(one[2], other[2]),
            max(one[3], other[3]),
        )
    )
    iou = width * height / union
    return iou, iou - (around - union) / around


def focal(logit: float, present: bool, gamma: float, alpha: float) -> float:
    prob = 1 / (1 + exp(-logit))
    if present:
        return alpha * (1 - prob) ** gamma * log1p(exp(-logit))
    return (1 - alpha) * prob**gamma * log1p(exp(logit))


def cross_entropy(logit: float, target: float) -> float:
    prob = 1 / (1 + exp(-logit))
    return -target * log(prob) - (1 - target) * log(1 - prob)
