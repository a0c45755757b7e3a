"""From scores and boxes to detections: candidates, small boxes, suppression."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from mmcv.ops import batched_nms
from mmdet.structures.bbox import (
    bbox_overlaps,
    get_box_tensor,
    get_box_wh,
    scale_boxes,
)
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.errors import check_choice

CHOICES = {
    'score_mode': ('product', 'sqrt'),
    'rank_by': ('cls', 'product'),
    'threshold_by': ('cls', 'product'),
}
# Boxes among which the best detections nearly always are.
_FIRST = 1000
# From here on batched_nms treats the classes one by one.
_SPLIT = 10000
_PLAIN = {'type', 'iou_threshold', 'offset', 'class_agnostic'}


class Candidates(NamedTuple):
    """The boxes of an image from which the detections are chosen.

    They come level by level, in a level by falling score (or class score: `rank_by`).

    Attributes:
        points: Where they were predicted: numbers of points, counted over all levels.
        labels: Their classes.
        scores: Class score times centre-ness (or its root: `score_mode`).
        bboxes: x0, y0, x1, y1, in the pixels of the input, clipped to the image.
        there: Which of them are candidates, where a device other than the CPU would
            have to be waited for to leave the others out; else None, for all.
    """

    points: Tensor
    labels: Tensor
    scores: Tensor
    bboxes: Tensor
    there: Tensor | None = None

    def alone(self) -> 'Candidates':
        """Return those that are candidates; the device is waited for."""
        if self.there is None:
            return self
        where = torch.nonzero(self.there).squeeze(1)
        return Candidates(*(one[where] for one in self[:4]))


def score_options(test_cfg: Any) -> dict[str, str]:
    """Return how a test_cfg wants detections scored; what it leaves out is mmdet's.

    These keys are ours:

    - `score_mode`: `'product'` of class score and centre-ness, or its root, `'sqrt'`,
      as the authors have it;
    - `rank_by`: which candidates `nms_pre` keeps: the best by class score, `'cls'`, or
      by the `'product'`, as the authors do;
    - `threshold_by`: what `score_thr` is compared with, `'cls'` or the `'product'`
      (AdelaiDet's THRESH_WITH_CTR).

    Args:
        test_cfg: A dictionary, or None.

    Raises:
        UserError: If one of these keys has a value that is not listed here.

    Example:
        >>> score_options({'score_mode': 'sqrt', 'nms_pre': 1000})
        {'score_mode': 'sqrt', 'rank_by': 'cls', 'threshold_by': 'cls'}
    """
    given = test_cfg or {}
    options = {key: given.get(key, allowed[0]) for key, allowed in CHOICES.items()}
    for key, value in options.items():
        check_choice('FCOSHead', f'test_cfg.{key}', value, CHOICES[key])
    return options


def level_candidates(
    scores: Float[Tensor, 'points classes'],
    quality: Float[Tensor, ' points'],
    threshold: float,
    most: int,
    options: dict[str, str],
) -> tuple[Int[Tensor, ' kept'], Int[Tensor, ' kept'], Float[Tensor, ' kept']]:
    """Return the point, the class and the score of the candidates of one level.

    Args:
        scores: Probability of each class.
        quality: Probability that multiplies it: centre-ness, or predicted IoU.
        threshold: Only scores above it count.
        most: How many to keep at most; below 0, all but the last so many.
        options: Of `score_options`.

    Returns:
        The candidates by falling score, or class score, as `rank_by` says; of equal
        ones the earlier point first.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.8], [0.0, 0.1]])
        >>> quality = torch.tensor([0.5, 1.0, 1.0])
        >>> level_candidates(scores, quality, 0.3, 2, score_options(None))
        (tensor([0, 1]), tensor([0, 1]), tensor([0.4500, 0.8000]))

    Paper: fcos "Center-ness"
    """
    # Few points have a candidate at all, and their largest score is found fast.
    busy = torch.nonzero(scores.amax(dim=1) > threshold).squeeze(1)
    scores = scores[busy]
    row, label = torch.nonzero(scores > threshold, as_tuple=True)
    cls, point = scores[row, label], busy[row]
    product = cls * quality[point]
    if options['threshold_by'] == 'product':
        # The product is below the class score: none is missing.
        above = torch.nonzero(product > threshold).squeeze(1)
        point, label, cls, product = (v[above] for v in (point, label, cls, product))
    rank = cls if options['rank_by'] == 'cls' else product
    best = rank.sort(descending=True, stable=True).indices[: min(most, len(rank))]
    score = product[best]
    if options['score_mode'] == 'sqrt':
        score = score.sqrt()
    return point[best], label[best], score


def padded_candidates(
    scores: Float[Tensor, 'points classes'],
    quality: Float[Tensor, ' points'],
    threshold: float,
    most: int,
    options: dict[str, str],
) -> tuple[
    Int[Tensor, ' places'],
    Int[Tensor, ' places'],
    Float[Tensor, ' places'],
    Bool[Tensor, ' places'],
]:
    """Return what `level_candidates` returns, and behind it others that fill it up.

    How many there are depends on nothing but the shapes: a GPU is not waited for, and
    a compiler gets one graph. On a CPU this sorts far more than it needs to.

    Args:
        scores: Probability of each class.
        quality: Probability that multiplies it: centre-ness, or predicted IoU.
        threshold: Only scores above it count.
        most: How many to keep at most; below 0, all but the last so many.
        options: Of `score_options`.

    Returns:
        Point, class and score of each place, and whether there is a candidate.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.8], [0.0, 0.1]])
        >>> quality = torch.tensor([0.5, 1.0, 1.0])
        >>> found = padded_candidates(scores, quality, 0.3, 4, score_options(None))
        >>> [one[found[-1]] for one in found[:2]]
        [tensor([0, 1, 1]), tensor([0, 1, 0])]
    """
    above = scores > threshold
    product = scores * quality[:, None]
    if options['threshold_by'] == 'product':
        above &= product > threshold
    rank = scores if options['rank_by'] == 'cls' else product
    rank = torch.where(above, rank, -torch.inf).flatten()
    order = rank.sort(descending=True, stable=True).indices
    if most >= 0:
        order = order[:most]
    score = product.flatten()[order]
    if options['score_mode'] == 'sqrt':
        score = score.sqrt()
    count = above.sum()
    there = torch.arange(len(order), device=order.device) < (
        count.clamp(max=most) if most >= 0 else count + most
    )
    classes = scores.size(1)
    return order // classes, order % classes, score, there


def in_image(boxes: Any, img_meta: dict) -> Any:
    """Return boxes of the input in the pixels of the image that it was made from.

    Args:
        boxes: x0, y0, x1, y1, or mmdet's boxes.
        img_meta: With `scale_factor`, that of the width and that of the height.

    Example:
        >>> in_image(torch.tensor([[0.0, 0, 4, 4]]), {'scale_factor': (0.5, 2.0)})
        tensor([[0., 0., 8., 2.]])
    """
    inverse = [1 / factor for factor in img_meta['scale_factor']]
    if not isinstance(boxes, Tensor):
        return scale_boxes(boxes, inverse)
    # Filled on the device: a tensor made of a list would be copied to it.
    sides = [boxes.new_full((1,), factor) for factor in inverse * 2]
    return boxes * torch.cat(sides)


def drop_small(results: InstanceData, size: float) -> InstanceData:
    """Return the candidates whose width and height are above a size.

    Args:
        results: `bboxes`, and whatever else the candidates have.
        size: In pixels; below 0 all are returned.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 9.0, 1.0]])
        >>> drop_small(InstanceData(bboxes=boxes), 0).bboxes
        tensor([[0., 0., 4., 4.]])
    """
    if size < 0:
        return results
    return results[torch.nonzero(are_larger(results.bboxes, size)).squeeze(1)]


def are_larger(boxes: Any, size: float) -> Bool[Tensor, ' boxes']:
    """Return which boxes have a width and a height above a size.

    Args:
        boxes: x0, y0, x1, y1, or mmdet's boxes.
        size: In the unit of the boxes.

    Example:
        >>> are_larger(torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 9.0, 1.0]]), 0)
        tensor([ True, False])
    """
    width, height = get_box_wh(boxes)
    return (width > size) & (height > size)


def suppress(results: InstanceData, nms: Any, most: int) -> InstanceData:
    """Return the best detections, of overlapping ones of a class only the better one.

    Plain suppression goes from the best box to the worst, so once it has kept `most`
    the rest cannot matter: on a CPU the best boxes are tried alone first. A GPU
    compares all at once, and would be waited for to decide that.

    Args:
        results: `bboxes`, `scores` and `labels` of the candidates.
        nms: Configuration of mmcv's `batched_nms`.
        most: How many detections to return at most.

    Example:
        >>> results = InstanceData(
        ...     bboxes=torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]]),
        ...     scores=torch.tensor([0.6, 0.9, 0.7]),
        ...     labels=torch.tensor([1, 1, 1]),
        ... )
        >>> suppress(results, {'type': 'nms', 'iou_threshold': 0.5}, 10).scores
        tensor([0.9000, 0.7000])
    """
    boxes = get_box_tensor(results.bboxes)
    plain = nms is not None and nms.get('type', 'nms') == 'nms' and set(nms) <= _PLAIN
    plain = plain and boxes.device.type == 'cpu'
    if plain and 0 < most < _FIRST < len(boxes) < _SPLIT:
        falling, order = results.scores.sort(descending=True)
        # The largest coordinate decides how far batched_nms moves the classes apart:
        # with it the numbers are the same to the last bit.
        outermost = boxes.amax(dim=1).argmax()
        few = torch.cat((order[:_FIRST], outermost[None])).unique()
        # Which of equal scores is first depends on all the others.
        if (falling[:_FIRST] > falling[1 : _FIRST + 1]).all():
            found = results[few]
            kept = batched_nms(boxes[few], found.scores, found.labels, nms)[1]
            if len(kept) > most:
                return found[kept[:most]]
    rated, kept = batched_nms(boxes, results.scores, results.labels, nms)
    results = results[kept]
    results.scores = rated[:, -1]  # other kinds of suppression change them
    return results[:most]


def suppressed_by(
    boxes: Float[Tensor, 'boxes 4'],
    scores: Float[Tensor, ' boxes'],
    labels: Int[Tensor, ' boxes'],
    kept: Int[Tensor, ' kept'],
    nms: Any,
) -> Int[Tensor, ' boxes']:
    """Return which box each suppressed box had to give way to.

    It is the best kept box, not worse than itself, that overlaps it too much.

    Args:
        boxes: The candidates, x0, y0, x1, y1.
        scores: What decides which box is better.
        labels: Their classes.
        kept: Which of them the suppression kept, the best first.
        nms: Configuration of mmcv's `batched_nms`, or None.

    Returns:
        Numbers of boxes; -1 for the kept ones, and where there is none.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
        >>> scores, labels = torch.tensor([0.6, 0.9, 0.7]), torch.tensor([1, 1, 1])
        >>> kept, nms = torch.tensor([1, 2]), {'type': 'nms', 'iou_threshold': 0.5}
        >>> suppressed_by(boxes, scores, labels, kept, nms)
        tensor([ 1, -1, -1])
    """
    nobody = torch.full_like(labels, -1)
    if nms is None or not len(kept):
        return nobody
    # An offset counts the last column and row of pixels as part of the box.
    far = boxes.new_tensor([0, 0, nms.get('offset', 0), nms.get('offset', 0)])
    removes = bbox_overlaps(boxes[kept] + far, boxes + far) > nms['iou_threshold']
    removes &= scores[kept, None] >= scores
    if not nms.get('class_agnostic', False):
        removes &= labels[kept, None] == labels
    first = removes.int().argmax(dim=0)
    winner = torch.where(removes.any(dim=0), kept[first], nobody)
    winner[kept] = -1
    return winner
