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


def centre(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def candidates(
    points: list[list[Point]],
    strides: list[tuple[float, float]],
    ranges: list[tuple[float, float]],
    boxes: list[Box],
    radius: float | None = None,
) -> list[list[bool]]:
    """Which boxes each point of all levels could learn."""
    rows = []
    for level, stride, (low, high) in zip(points, strides, ranges, strict=True):
        for point in level:
            row = []
            for box in boxes:
                ltrb = distances(point, box)
                fits = min(ltrb) > 0 and low <= max(ltrb) <= high
                if radius is not None:
                    middle = centre(box)
                    fits = fits and all(
                        abs(point[axis] - middle[axis]) < radius * stride[axis]
                        for axis in (0, 1)
                    )
                row.append(fits)
            rows.append(row)
    return rows


def assign(
    points: list[list[Point]],
    strides: list[tuple[float, float]],
    ranges: list[tuple[float, float]],
    boxes: list[Box],
    radius: float | None = None,
    ambiguity: str = 'area',
    extra: float = 0,
) -> list[int]:
    """Which box each point learns: 0 for none, k for box k - 1.

    Args:
        points: Of each level.
        strides: Horizontal and vertical.
        ranges: Smallest and largest distance of each level.
        boxes: Of one image.
        radius: Of centre sampling, in strides.
        ambiguity: 'area' or 'nearest'.
        extra: What the authors add to width and height in the area.
    """
    size = [(box[2] - box[0] + extra) * (box[3] - box[1] + extra) for box in boxes]
    chosen = []
    flat = [point for level in points for point in level]
    rows = candidates(points, strides, ranges, boxes, radius)
    for point, row in zip(flat, rows, strict=True):
        # Tuples compare entry by entry: a tie falls to the next criterion.
        ranking = []
        for number, (box, fits) in enumerate(zip(boxes, row, strict=True)):
            if fits:
                middle = centre(box)
                away = (point[0] - middle[0]) ** 2 + (point[1] - middle[1]) ** 2
                first = (away,) if ambiguity == 'nearest' else ()
                ranking.append((*first, size[number], number + 1))
        chosen.append(min(ranking)[-1] if ranking else 0)
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


def smooth_iou_and_giou(one: Box, other: Box) -> tuple[float, float]:
    """The authors': 1 added to intersection and union, 1e-7 to the enclosing area."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    union = area(one) + area(other) - width * height
    across = max(one[2], other[2]) - min(one[0], other[0])
    down = max(one[3], other[3]) - min(one[1], other[1])
    around = across * down + 1e-7
    iou = (width * height + 1) / (union + 1)
    return iou, iou - (around - union) / around


def detections(
    scores: list[list[float]],
    quality: list[float],
    threshold: float,
    most: int,
    root: bool,
    rank_by_product: bool,
    threshold_product: bool,
) -> list[tuple[int, int, float]]:
    """Point, class and score of what one level keeps, the best first."""
    found = []
    for point, row in enumerate(scores):
        for label, score in enumerate(row):
            product = score * quality[point]
            if (product if threshold_product else score) > threshold:
                rank = product if rank_by_product else score
                found.append((rank, point, label, sqrt(product) if root else product))
    found.sort(key=lambda entry: -entry[0])
    return [entry[1:] for entry in found[:most]]
