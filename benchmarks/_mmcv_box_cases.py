"""The ops of mmcv on boxes at the sizes that models use, and what a case is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor

mmcv_ops = import_module('mmcv.ops')
Results = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One op at one size.

    Attributes:
        file: The file of `mmcv.ops` that calls the op.
        make: Returns what is timed; that returns named results, which are compared.
        peer: The same of the peer, where that needs other inputs or is not compiled.
        against: What the peer is.
    """

    file: str
    make: Callable[[], Callable[[], Results]]
    peer: Callable[[], Callable[[], Results]] | None = None
    against: str = 'compiled mmcv'


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clustered(number: int, objects: int, classes: int = 1) -> tuple[Tensor, Tensor]:
    """Boxes around objects in a 1333 x 800 image, classes moved apart, and scores."""
    generator = seeded(number + objects)
    owner = torch.randint(objects, (number,), generator=generator)
    size = 16 * 2 ** (torch.rand(objects, 2, generator=generator)[owner] * 4)
    centre = torch.rand(objects, 2, generator=generator)[owner]
    centre = centre * torch.tensor([1333.0, 800.0])
    noise = torch.randn(2, number, 2, generator=generator) * 0.12
    centre, size = centre + noise[0] * size, size * noise[1].exp()
    label = torch.randint(classes, (objects,), generator=generator)[owner]
    boxes = torch.cat((centre - size / 2, centre + size / 2), dim=1)
    moved = boxes + label[:, None] * (boxes.max() + 1)
    return moved, torch.rand(number, generator=generator)


def nms(number: int, objects: int, threshold: float, classes: int) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects, classes)
        return lambda: {'kept': mmcv_ops.nms(boxes, scores, threshold)[1]}

    return Case('nms', make)


def soft_nms(number: int, objects: int, method: str) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects)

        def run() -> Results:
            dets, kept = mmcv_ops.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method)
            return {'kept': kept, 'scores': dets[:, 4]}

        return run

    return Case('nms', make)


def nms_match(number: int, objects: int) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects)
        dets = torch.cat((boxes, scores[:, None]), dim=1)

        def run() -> Results:
            groups = mmcv_ops.nms_match(dets, 0.5)
            sizes = torch.tensor([len(group) for group in groups])
            return {'members': torch.cat(groups), 'sizes': sizes}

        return run

    return Case('nms', make)


def bbox_overlaps(rows: int, columns: int, mode: str) -> Case:
    def make() -> Callable[[], Results]:
        first, second = clustered(rows, 50)[0], clustered(columns, 51)[0]
        return lambda: {'overlaps': mmcv_ops.bbox_overlaps(first, second, mode)}

    return Case('bbox', make)
