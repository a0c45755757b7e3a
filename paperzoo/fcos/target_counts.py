"""How many locations learn which boxes of a data set: recall, ambiguity, levels."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperzoo.fcos.assigner import INF, FCOSRangeAssigner
from paperzoo.fcos.geometry import Stride, pyramid_points


class BoxesOfImage(NamedTuple):
    """What the assigner would see of one image.

    Attributes:
        boxes: x0, y0, x1, y1, in the pixels of the input, (boxes, 4).
        labels: Their classes.
        size: Height and width of the input, padded.
    """

    boxes: Float[Tensor, 'boxes 4']
    labels: Int[Tensor, ' boxes']
    size: tuple[int, int]


@dataclass
class Counts:
    """What one assigner makes of all images.

    Args:
        ranges: Whether each level has a range of distances.
        center_sampling: Whether only points near a centre are positive.
        strides: Horizontal and vertical stride of each level.
        boxes: How many there are.
        learnt: How many of them a point learns.
        ambiguous: Points that lie in more than one box.
        ambiguous_classes: Points that lie in boxes of more than one class.
        per_level: Points with a box, by level.
    """

    ranges: bool
    center_sampling: bool
    strides: list[Stride]
    boxes: int = 0
    learnt: int = 0
    ambiguous: int = 0
    ambiguous_classes: int = 0
    per_level: list[int] = field(default_factory=list)

    def add(
        self,
        candidates: Bool[Tensor, 'points boxes'],
        assigned: Int[Tensor, ' points'],
        labels: Int[Tensor, ' boxes'],
        sizes: list[int],
    ) -> None:
        """Count one image.

        Args:
            candidates: Which boxes each point could learn.
            assigned: What each point learns: 0 for none, k for box k - 1.
            labels: Classes of the boxes.
            sizes: Number of points of each level.
        """
        self.boxes += len(labels)
        if not len(labels):
            return
        self.learnt += len(assigned[assigned > 0].unique())
        per_point = candidates.sum(dim=1)
        self.ambiguous += int((per_point > 1).sum())
        none = labels.max() + 1
        lowest = torch.where(candidates, labels, none).amin(dim=1)
        highest = torch.where(candidates, labels, -1).amax(dim=1)
        self.ambiguous_classes += int((lowest < highest).sum())
        levels = [int((level > 0).sum()) for level in per_point.split(sizes)]
        before = self.per_level or [0] * len(sizes)
        self.per_level = [a + b for a, b in zip(before, levels, strict=True)]

    def summary(self) -> dict[str, Any]:
        """Return the counts and their shares."""
        positives = sum(self.per_level)
        share = lambda part, whole: part / whole if whole else 0.0
        return {
            **asdict(self),
            'positives': positives,
            'best_possible_recall': share(self.learnt, self.boxes),
            'ambiguous_share': share(self.ambiguous, positives),
            'ambiguous_classes_share': share(self.ambiguous_classes, positives),
            'level_shares': [share(level, positives) for level in self.per_level],
        }


def variants_of(
    assigner: FCOSRangeAssigner,
) -> dict[tuple[bool, bool], FCOSRangeAssigner]:
    """Return the assigner by (with ranges, with centre sampling), all else its own.

    Example:
        >>> variants = variants_of(FCOSRangeAssigner([(-1, 64), (64, 128)]))
        >>> variants[False, True].regress_ranges
        ((-1, 100000000.0), (-1, 100000000.0))

    Paper: fcos "Multi-level Prediction with FPN"
    """
    every_size = [(-1, INF)] * len(assigner.regress_ranges)
    return {
        (ranges, sampling): FCOSRangeAssigner(
            assigner.regress_ranges if ranges else every_size,
            center_sampling=sampling,
            center_sample_radius=assigner.center_sample_radius,
            ambiguity=assigner.ambiguity,
            area_convention=assigner.area_convention,
        )
        for ranges in (True, False)
        for sampling in (False, True)
    }


def count_targets(
    assigner: FCOSRangeAssigner,
    strides: Sequence[Stride],
    images: Iterable[BoxesOfImage],
) -> list[Counts]:
    """Return the counts for the four combinations of ranges and centre sampling.

    Args:
        assigner: With the ranges, and the radius of the centre sampling.
        strides: Horizontal and vertical stride of each level.
        images: Their boxes.

    Example:
        >>> boxes, labels = torch.tensor([[0.0, 0.0, 24.0, 24.0]]), torch.tensor([0])
        >>> images = [BoxesOfImage(boxes, labels, (32, 32))]
        >>> counts = count_targets(FCOSRangeAssigner([(-1, 64)]), [(8, 8)], images)
        >>> counts[0].boxes, counts[0].learnt, counts[0].per_level
        (1, 1, [9])

    Paper: fcos "Multi-level Prediction with FPN"
    """
    strides = list(strides)
    assigners = variants_of(assigner)
    counts = {key: Counts(*key, strides) for key in assigners}
    for boxes, labels, (height, width) in images:
        sizes = [
            (ceil(height / down), ceil(width / across)) for across, down in strides
        ]
        points = pyramid_points(sizes, strides)
        for key, one in assigners.items():
            counts[key].add(
                one.candidates(points, strides, boxes),
                one.assign(points, strides, boxes),
                labels,
                [len(level) for level in points],
            )
    return list(counts.values())
