"""What is taken for what: confusion matrices, and how well each image is understood."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask

from paperzoo.utils.masks import Record, decode

# Rows are the truth, columns what was found; the last of both is no class.
Confusion = Int[np.ndarray, 'side side']


def match(
    found: Sequence[Record], truth: Sequence[Record], iou_thr: float = 0.5
) -> tuple[list[tuple[int, int, float]], list[int], list[int]]:
    """Pair what was found in an image with the truth, whatever the classes.

    In the order of falling scores, each record takes the free object of the highest IoU
    of at least `iou_thr`. Masks are compared where both sides have them, else boxes.

    Args:
        found: Records of the image.
        truth: Its objects. An ignored one never counts, nor does a record without an
            object of which a share of `iou_thr` lies in an ignored one.
        iou_thr: Smallest IoU of a pair.

    Returns:
        Pairs (index of the record, of the object, IoU); indices of the records without
        an object; indices of the objects without a record.

    Example:
        >>> box = {'category_id': 0, 'bbox': [0, 0, 10, 10], 'score': 0.9}
        >>> far = {'category_id': 0, 'bbox': [50, 50, 10, 10], 'score': 0.8}
        >>> match([box, far], [box])
        ([(0, 0, 1.0)], [1], [])
    """
    ignored = [bool(one.get('ignored')) for one in truth]
    ious = _ious(found, truth, ignored)
    order = sorted(range(len(found)), key=lambda i: -found[i].get('score', 1.0))
    free = [index for index, out in enumerate(ignored) if not out]
    crowds = [index for index, out in enumerate(ignored) if out]
    pairs, alone = [], []
    for index in order:
        best = max(free, key=lambda j: ious[index, j], default=None)
        if best is not None and ious[index, best] >= iou_thr:
            pairs.append((index, best, float(ious[index, best])))
            free.remove(best)
        elif all(ious[index, crowd] < iou_thr for crowd in crowds):
            alone.append(index)
    return pairs, alone, free


def _ious(
    found: Sequence[Record], truth: Sequence[Record], crowd: list[bool]
) -> Float[np.ndarray, 'found truth']:
    if not found or not truth:
        return np.zeros((len(found), len(truth)))
    masks = all('segmentation' in one for one in (*found, *truth))
    key = 'segmentation' if masks else 'bbox'
    own, other = ([one[key] for one in side] for side in (found, truth))
    if masks:
        return coco_mask.iou(own, other, crowd)
    return coco_mask.iou(np.array(own, float), np.array(other, float), crowd)


def object_confusion(
    found: Sequence[Record],
    truth: Sequence[Record],
    num_classes: int,
    iou_thr: float = 0.5,
) -> Confusion:
    """Return how often an object of a class was found as each class, in one image.

    Args:
        found: Records of the image.
        truth: Its objects.
        num_classes: C.
        iou_thr: Smallest IoU of a pair, see `match`.

    Returns:
        (C + 1, C + 1): rows the truth, columns what was found; the last row is what is
        no object, the last column what was missed.

    Example:
        >>> cat = {'category_id': 0, 'bbox': [0, 0, 10, 10]}
        >>> dog = {'category_id': 1, 'bbox': [0, 0, 10, 10]}
        >>> object_confusion([dog], [cat], num_classes=2)
        array([[0, 1, 0],
               [0, 0, 0],
               [0, 0, 0]])
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    pairs, alone, missed = match(found, truth, iou_thr)
    for index, own, _ in pairs:
        counts[truth[own]['category_id'], found[index]['category_id']] += 1
    for index in alone:
        counts[num_classes, found[index]['category_id']] += 1
    for own in missed:
        counts[truth[own]['category_id'], num_classes] += 1
    return counts


def pixel_confusion(
    found: Sequence[Record],
    truth: Sequence[Record],
    num_classes: int,
    size: tuple[int, int],
) -> Confusion:
    """Return how many pixels of a class were found as each class, in one image.

    Args:
        found: Segments of the image.
        truth: Its segments; pixels outside of all of them do not count.
        num_classes: C.
        size: Height and width of the image.

    Returns:
        (C + 1, C + 1): rows the truth, the last of them empty; columns what was found,
        the last of them nothing.

    Example:
        >>> import numpy as np
        >>> from paperzoo.utils.masks import encode
        >>> sky = {'category_id': 0, 'segmentation': encode(np.ones((2, 3), bool))}
        >>> pixel_confusion([], [sky], num_classes=1, size=(2, 3))
        array([[0, 6],
               [0, 0]])
    """
    rows = _class_map(truth, num_classes, size).ravel()
    columns = _class_map(found, num_classes, size).ravel()
    known = rows < num_classes
    cells = rows[known] * (num_classes + 1) + columns[known]
    side = num_classes + 1
    return np.bincount(cells, minlength=side * side).reshape(side, side)


def _class_map(
    records: Sequence[Record], num_classes: int, size: tuple[int, int]
) -> Int[np.ndarray, 'height width']:
    labels = np.full(size, num_classes, np.int64)
    for record in records:
        labels[decode(record)] = record['category_id']
    return labels


def object_quality(
    found: Sequence[Record], truth: Sequence[Record], iou_thr: float = 0.5
) -> float:
    """Return how well an image is understood, from 0 to 1: its panoptic quality.

    The sum of the IoU of right pairs, divided by their number plus half of what was
    found wrongly plus half of what was missed; all classes together. 1 if there is
    nothing and nothing was found.

    Args:
        found: Records of the image.
        truth: Its objects.
        iou_thr: Smallest IoU of a pair, see `match`.

    Example:
        >>> one = {'category_id': 0, 'bbox': [0, 0, 10, 10]}
        >>> half = {'category_id': 0, 'bbox': [0, 0, 10, 5]}
        >>> object_quality([half], [one])
        0.5
    """
    pairs, alone, missed = match(found, truth, iou_thr)
    right = [
        iou
        for index, own, iou in pairs
        if found[index]['category_id'] == truth[own]['category_id']
    ]
    wrong = len(pairs) - len(right)
    # A pair of two classes is both found wrongly and missed.
    weight = len(right) + (len(alone) + wrong) / 2 + (len(missed) + wrong) / 2
    return sum(right) / weight if weight else 1.0


def pixel_quality(confusion: Confusion) -> float:
    """Return the mean IoU of the classes that an image has or was said to have.

    Args:
        confusion: Of `pixel_confusion`; 1 if no pixel counts.

    Example:
        >>> import numpy as np
        >>> pixel_quality(np.array([[2, 1, 0], [0, 3, 0], [0, 0, 0]])).__round__(4)
        0.7083
    """
    inner = confusion[:-1, :-1]
    union = confusion.sum(1)[:-1] + confusion.sum(0)[:-1] - inner.diagonal()
    there = union > 0
    if not there.any():
        return 1.0
    return float((inner.diagonal()[there] / union[there]).mean())


def exchanged(confusion: Confusion, least: int = 5) -> list[tuple[int, int]]:
    """Return classes that are found as each other: as with names in a wrong order.

    Args:
        confusion: Rows of the truth, columns of what was found; the last of both may
            stand for nothing, which is no class.
        least: How many objects or pixels of a class must have been found.

    Returns:
        Pairs of a class and the one that more than half of it was found as, if these
        classes only change places among themselves; else nothing: a weak model
        confuses, but does not exchange.

    Example:
        >>> import numpy as np
        >>> from paperzoo.evaluation.confusion import exchanged
        >>> exchanged(np.array([[1, 9, 3], [8, 0, 2], [0, 0, 0]]))
        [(0, 1), (1, 0)]
        >>> exchanged(np.array([[1, 9, 3], [0, 8, 2], [0, 0, 0]]))
        []
    """
    classes = confusion[:-1, :-1]
    pairs = [
        (label, int(row.argmax()))
        for label, row in enumerate(classes)
        if row.sum() >= least and 2 * row.max() > row.sum() and row.argmax() != label
    ]
    same = {one for one, _ in pairs} == {other for _, other in pairs}
    return pairs if same else []
