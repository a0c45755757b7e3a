"""Whether an exported file gives the results of its model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.images import pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

# What single precision, computed in another order, explains.
BOX, SCORE, SHARE = 0.1, 1e-3, 1e-3
_LOOK_AT = 8
# Boxes and masks that differ by more are not taken for the same object.
_SAME_BOX, _SAME_MASK = 4.0, 0.2


@dataclass
class Comparison:
    """How far two models agree about images.

    Attributes:
        source: Where the images come from.
        images: How many there are.
        objects: How many objects (or values) the first model has found in them.
        others: How many the second has found.
        unmatched: How many of the first's the second does not have, with their label.
        box: Largest difference of a corner, in pixels.
        score: Largest difference of a score.
        pixels: How many pixels there are in masks or maps.
        wrong_pixels: How many of them differ.
    """

    source: str
    images: int = 0
    objects: int = 0
    others: int = 0
    unmatched: int = 0
    box: float = 0.0
    score: float = 0.0
    pixels: int = 0
    wrong_pixels: int = 0

    def __str__(self) -> str:
        """Return the figures in a line."""
        parts = [f'{self.images} {self.source}']
        if self.objects or self.others or not self.pixels:
            parts.append(
                f'{self.objects} and {self.others} results, {self.unmatched} with '
                f'another label or none; scores differ by at most {self.score:.2g}'
            )
        if self.objects and not self.pixels and self.box:
            parts.append(f'boxes by {self.box:.2g} pixels')
        if self.pixels:
            parts.append(f'{self.wrong_pixels} of {self.pixels} pixels differ')
        return '; '.join(parts)

    def check(self, file: str) -> None:
        """Refuse differences beyond what single precision explains.

        Args:
            file: Which was compared.

        Raises:
            UserError: If boxes differ by more than 0.1 pixels, scores by more than
                0.001, or more than a thousandth of the labels or pixels.
        """
        missing = max(self.unmatched, abs(self.objects - self.others))
        fits = (
            self.box <= BOX
            and self.score <= SCORE
            and missing <= SHARE * max(self.objects, self.others)
            and self.wrong_pixels <= SHARE * self.pixels
        )
        if not fits:
            raise UserError(
                f"'{file}' does not give the model's results, and was not kept: {self}"
            )


def compare(
    one: Callable[[Any], Result],
    other: Callable[[Any], Result],
    images: Sequence[Any],
    source: str = 'images',
) -> Comparison:
    """Return how far two models agree about images.

    Args:
        one: The first, which leaves no object out for its score.
        other: The second, likewise.
        images: What both are called with.
        source: Where the images come from.

    Example:
        >>> from paperzoo.apis.export_check import compare
        >>> print(compare(len, len, []))
        0 images; 0 and 0 results, 0 with another label or none; scores differ by at ...
    """
    total = Comparison(source)
    for image in images:
        total.images += 1
        _add(total, one(image), other(image))
    return total


def _add(total: Comparison, one: Result, other: Result) -> None:
    for plane, second in zip(_planes(one), _planes(other), strict=True):
        total.pixels += plane.size
        total.wrong_pixels += int((plane != second).sum())
    if one.labels is None or other.labels is None:
        return
    total.objects += len(one.labels)
    total.others += len(other.labels)
    found, others = _Objects(one), _Objects(other)
    distances = found.distances(others)
    for here, there in enumerate(_partners(distances, found.limits())):
        if there is None:
            total.unmatched += 1
            continue
        gap = abs(float(found.scores[here]) - float(others.scores[there]))
        total.score = max(total.score, gap)
        if found.masks is not None:
            total.pixels += found.masks.shape[1]
            total.wrong_pixels += int(distances[here, there])
        else:
            total.box = max(total.box, float(distances[here, there]))


def _planes(result: Result) -> list[NDArray]:
    """Return the maps of a result; panoptic ones as label + 1000 * number."""
    panoptic = result.sample.get('pred_panoptic_seg')
    if panoptic is not None:
        return [np.asarray(panoptic.sem_seg[0])]
    return [] if result.sem_seg is None else [result.sem_seg]


class _Objects:
    """The objects of a result, to be compared with those of another."""

    def __init__(self, result: Result) -> None:
        self.labels: Any = result.labels
        self.scores: Any = result.scores
        self.boxes: Any = result.boxes
        masks = result.masks
        self.masks: Any = None
        if masks is not None:
            self.masks = masks.reshape(len(masks), -1).astype(np.float32)

    def distances(self, other: '_Objects') -> NDArray:
        """Return pixels between corners, or pixels that differ; inf for others."""
        if self.masks is None:
            gaps = np.abs(self.boxes[:, None] - other.boxes[None]).max(-1)
        else:
            areas = self.masks.sum(1)[:, None] + other.masks.sum(1)[None]
            gaps = areas - 2 * (self.masks @ other.masks.T)
        far = np.abs(self.scores[:, None] - other.scores[None]) > 10 * SCORE
        far |= self.labels[:, None] != other.labels[None]
        return np.where(far, np.inf, gaps)

    def limits(self) -> NDArray:
        """Return for each object the distance of what may be the same one."""
        if self.masks is None:
            return np.full(len(self.labels), _SAME_BOX)
        return np.maximum(_SAME_MASK * self.masks.sum(1), 4.0)


def _partners(distances: NDArray, limits: NDArray) -> list[int | None]:
    """Return for each object of one the nearest free one of the other, if near."""
    free = distances.copy()
    found: list[int | None] = []
    for first, limit in enumerate(limits):
        second = int(free[first].argmin()) if free.shape[1] else None
        if second is None or not free[first, second] <= limit:
            found.append(None)
            continue
        free[:, second] = np.inf
        found.append(second)
    return found


def real_images(
    cfg: 'Config', given: Sequence[str | Path], size: tuple[int, int] | None
) -> tuple[list[NDArray[np.uint8]], str]:
    """Return images to compare with, and where they come from.

    Args:
        cfg: The config, of whose test set some are taken if none is given.
        given: Files.
        size: Width and height that they are resized to; None: they stay.

    Raises:
        UserError: If a given file is no image.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.export_check import real_images
        >>> images, source = real_images(Config({}), [], (64, 32))
        >>> images[0].shape, source
        ((32, 64, 3), 'patterns')
    """
    import cv2

    files = [Path(file) for file in given] or dataset_images(cfg)
    found = [pixels_of(file) for file in files]
    source = 'images' if given else 'images of the test set'
    if not found:
        found, source = _patterns(size or (256, 192)), 'patterns'
    if size is not None:
        found = [np.asarray(cv2.resize(one, size), np.uint8) for one in found]
    return found, source


def dataset_images(cfg: 'Config', number: int = _LOOK_AT) -> list[Path]:
    """Return image files of a config's test set, else of its validation set, or none.

    Args:
        cfg: The config.
        number: How many, at most.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.export_check import dataset_images
        >>> dataset_images(Config({}))
        []
    """
    from paperzoo.apis.build import build_dataset
    from paperzoo.preflight.image_files import evenly_spaced

    for split in ('test', 'val'):
        spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if spec is None:
            continue
        try:
            dataset = build_dataset(cfg, split, spec)
            if not hasattr(dataset, 'get_data_info'):
                continue
            numbers = evenly_spaced(range(len(dataset)), number)
            return [Path(dataset.get_data_info(n)['img_path']) for n in numbers]
        except (UserError, OSError):
            continue  # Elsewhere the data is not there; patterns do as well.
    return []


def _patterns(size: tuple[int, int], count: int = 4) -> list[NDArray[np.uint8]]:
    """Return pictures of coarse random patches, which give detectors something."""
    import cv2

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return [
        np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        for one in coarse
    ]
