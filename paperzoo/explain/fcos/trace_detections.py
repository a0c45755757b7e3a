"""What an FCOS head predicts, and which of it suppression leaves."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from mmcv.ops import batched_nms
from mmdet.structures.bbox import bbox_overlaps, get_box_wh
from torch import Tensor

from paperzoo.fcos.geometry import level_points
from paperzoo.fcos.head import FCOSHead
from paperzoo.fcos.post_processing import level_candidates, score_options

# Of `Candidates.removed_by`: a detection; dropped, but not for one better box.
KEPT, DROPPED = -1, -2


@dataclass(frozen=True)
class Maps:
    """What the head predicts at every point of every level.

    Args:
        points: x and y in the pixels of the input, levels one after the other.
        sizes: Height and width of each level.
        logits: Of the classes.
        ltrb: Distances to the four edges, in pixels.
        quality: Logits of the centre-ness (or of the IoU).
    """

    points: Float[Tensor, 'points 2']
    sizes: list[tuple[int, int]]
    logits: Float[Tensor, 'points classes']
    ltrb: Float[Tensor, 'points 4']
    quality: Float[Tensor, ' points']

    def levels(self, values: Tensor) -> list[Tensor]:
        """Return one value per point as a map per level, (height, width)."""
        parts = values.split([height * width for height, width in self.sizes])
        return [part.view(*size) for part, size in zip(parts, self.sizes, strict=True)]


@dataclass(frozen=True)
class Candidates:
    """The boxes from which the detections are chosen, the best class score first.

    Args:
        point: Where each was predicted.
        label: Its class.
        boxes: In the pixels of the input.
        cls_score: Probability of the class.
        quality: Predicted centre-ness (or IoU).
        score: What they make together.
        removed_by: `KEPT`, `DROPPED`, or the better box that it overlaps too much.
        removed_by_cls: The same, had the class score alone decided.
    """

    point: Int[Tensor, ' kept']
    label: Int[Tensor, ' kept']
    boxes: Float[Tensor, 'kept 4']
    cls_score: Float[Tensor, ' kept']
    quality: Float[Tensor, ' kept']
    score: Float[Tensor, ' kept']
    removed_by: Int[Tensor, ' kept']
    removed_by_cls: Int[Tensor, ' kept']


def maps_of(head: FCOSHead, features: tuple[Tensor, ...]) -> Maps:
    """Return the predictions of a head in evaluation mode for the first image.

    Args:
        head: The head.
        features: The feature map of each level, (images, channels, height, width).
    """
    scores, distances, quality = (
        [level[0].flatten(1).T for level in levels] for levels in head(features)
    )
    sizes = [(level.size(-2), level.size(-1)) for level in features]
    points = [
        level_points(size, stride, device=features[0].device)
        for size, stride in zip(sizes, head.stride_pairs, strict=True)
    ]
    return Maps(
        points=torch.cat(points),
        sizes=sizes,
        logits=torch.cat(scores),
        ltrb=torch.cat(distances),
        quality=torch.cat(quality).squeeze(1),
    )


def candidates_of(head: FCOSHead, maps: Maps, shape: tuple[int, int]) -> Candidates:
    """Return the candidates of all levels, and what became of each.

    Args:
        head: The head; its `test_cfg` counts.
        maps: Its predictions.
        shape: Height and width of the image, to which boxes are clipped.

    Paper: fcos "Center-ness"
    """
    cfg: Any = head.test_cfg
    probabilities = head._class_scores(maps.logits)
    qualities = maps.quality.sigmoid()
    sizes = [height * width for height, width in maps.sizes]
    point, label, score = _over_levels(
        [
            level_candidates(
                scores,
                quality,
                cfg.get('score_thr', 0),
                cfg.get('nms_pre', -1),
                score_options(cfg),
            )
            for scores, quality in zip(
                probabilities.split(sizes), qualities.split(sizes), strict=True
            )
        ],
        sizes,
    )
    boxes = head.bbox_coder.decode(
        maps.points[point], maps.ltrb[point], max_shape=shape
    )
    cls_score = probabilities[point, label]
    order = cls_score.sort(descending=True, stable=True).indices
    if cfg.get('min_bbox_size', -1) >= 0:
        width, height = get_box_wh(boxes[order])
        order = order[(width > cfg.min_bbox_size) & (height > cfg.min_bbox_size)]
    point, label, score = point[order], label[order], score[order]
    boxes, cls_score = boxes[order], cls_score[order]
    limits = cfg.get('nms'), cfg.get('max_per_img', -1)
    return Candidates(
        point=point,
        label=label,
        boxes=boxes,
        cls_score=cls_score,
        quality=qualities[point],
        score=score,
        removed_by=removed_by(boxes, score, label, *limits),
        removed_by_cls=removed_by(boxes, cls_score, label, *limits),
    )


def _over_levels(
    found: list[tuple[Tensor, Tensor, Tensor]], sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Join the levels; points are then counted over all of them."""
    points, labels, scores = zip(*found, strict=True)
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    moved = [point + start for point, start in zip(points, starts, strict=True)]
    return torch.cat(moved), torch.cat(labels), torch.cat(scores)


def removed_by(
    boxes: Float[Tensor, 'boxes 4'],
    scores: Float[Tensor, ' boxes'],
    labels: Int[Tensor, ' boxes'],
    nms: Any,
    most: int,
) -> Int[Tensor, ' boxes']:
    """Return which box removed each box: the best one that overlaps it too much.

    Args:
        boxes: As x0, y0, x1, y1.
        scores: What decides which box is better.
        labels: Classes.
        nms: Configuration of mmcv's `batched_nms`, or None.
        most: How many to keep at most.

    Returns:
        The index of a box; `KEPT`; or `DROPPED`, when there are `most` better ones.
    """
    removed = torch.full_like(labels, DROPPED)
    if not len(boxes):
        return removed
    kept = batched_nms(boxes, scores, labels, nms)[1]
    if nms is not None:
        far = boxes.new_tensor([0, 0, nms.get('offset', 0), nms.get('offset', 0)])
        overlap = bbox_overlaps(boxes[kept] + far, boxes + far)
        removes = overlap > nms.get('iou_threshold', 1.0)
        removes &= scores[kept, None] >= scores
        if not nms.get('class_agnostic', False):
            removes &= labels[kept, None] == labels
        # The kept ones come by falling score: the first that overlaps did it.
        first = removes.int().argmax(dim=0)
        removed = torch.where(removes.any(dim=0), kept[first], removed)
    removed[kept] = DROPPED
    removed[kept[:most]] = KEPT
    return removed
