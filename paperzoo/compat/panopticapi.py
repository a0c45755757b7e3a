"""Stand in for the package `panopticapi` where it is not installed.

Ailment: mmdet's `LoadPanopticAnnotations` and `CocoPanopticMetric` end in "panopticapi
    is not installed, please install it by: pip install git+https://...": the package is
    on no registry, so no requirement can name it and no offline mirror has it.
Upstream: https://github.com/open-mmlab/mmdetection/pull/5231 (mmdet begins to need it)
    https://github.com/cocodataset/panopticapi
Delete when: mmdet reads panoptic PNGs without panopticapi, or panopticapi is on PyPI.

Only what mmdet imports is here: the id of a segment, which is R + 256 G + 256^2 B of
its colour in the PNG, and the counts from which panoptic quality follows.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = 'panopticapi'
OFFSET = 256**3
VOID = 0


def rgb2id(color: Any) -> Any:
    """Return the segment id of a colour, or the id map of an RGB image.

    Args:
        color: Three numbers, or an array whose last axis is R, G, B.
    """
    if hasattr(color, 'astype'):
        color = color.astype('int32')
        return color[..., 0] + 256 * color[..., 1] + 256**2 * color[..., 2]
    red, green, blue = (int(channel) for channel in color)
    return red + 256 * green + 256**2 * blue


def id2rgb(id_map: Any) -> Any:
    """Return the colour of a segment id (a list), or the RGB image of an id map.

    Args:
        id_map: One id or an integer array of ids, each below 256^3.
    """
    if not hasattr(id_map, 'shape'):
        return [id_map // 256**power % 256 for power in range(3)]
    # numpy only here: importing the remedies must stay light.
    import numpy as np

    channels = [id_map // 256**power % 256 for power in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def save_json(content: Any, path: str) -> None:
    """Write an annotation dict as JSON.

    Args:
        content: What to write.
        path: The file to write.
    """
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file)


class IdGenerator:
    """Hands out segment ids that are unique in one image, near their category's colour.

    Args:
        categories: Category id to category, with the keys `color` and `isthing`.
    """

    def __init__(self, categories: Mapping[int, Mapping[str, Any]]) -> None:
        self.categories = categories
        stuff = (c['color'] for c in categories.values() if not c['isthing'])
        self.taken = {VOID, *map(rgb2id, stuff)}

    def get_id(self, cat_id: int) -> int:
        """Return a new id; all segments of a stuff category share one.

        Args:
            cat_id: The category of the segment.
        """
        category = self.categories[cat_id]
        found = rgb2id(category['color'])
        if category['isthing']:
            # A step in green and blue, not red alone: neighbours differ visibly.
            while found in self.taken:
                found = (found + rgb2id((17, 31, 7))) % OFFSET
            self.taken.add(found)
        return found

    def get_color(self, cat_id: int) -> list[int]:
        """Return the colour of a new id.

        Args:
            cat_id: The category of the segment.
        """
        return id2rgb(self.get_id(cat_id))

    def get_id_and_color(self, cat_id: int) -> tuple[int, list[int]]:
        """Return a new id and its colour.

        Args:
            cat_id: The category of the segment.
        """
        found = self.get_id(cat_id)
        return found, id2rgb(found)


@dataclass
class PQStatCat:
    """What was counted for one category."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __iadd__(self, other: 'PQStatCat') -> 'PQStatCat':
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self

    def qualities(self) -> dict[str, float]:
        """Return PQ, SQ and RQ of this category, 0 where nothing was counted."""
        total = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return {
            'pq': self.iou / total if total else 0.0,
            'sq': self.iou / self.tp if self.tp else 0.0,
            'rq': self.tp / total if total else 0.0,
        }


class PQStat:
    """Counts of all categories, by category id."""

    def __init__(self) -> None:
        self.pq_per_cat: dict[int, PQStatCat] = defaultdict(PQStatCat)

    def __getitem__(self, cat_id: int) -> PQStatCat:
        return self.pq_per_cat[cat_id]

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for cat_id, counts in other.pq_per_cat.items():
            self.pq_per_cat[cat_id] += counts
        return self

    def pq_average(
        self, categories: Mapping[int, Mapping[str, Any]], isthing: bool | None
    ) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
        """Return the mean over the categories that occur, and each category's values.

        Args:
            categories: Category id to category, with the key `isthing`.
            isthing: Only things, only stuff, or (None) both.
        """
        per_category = {}
        occurring = []
        for cat_id, category in categories.items():
            if isthing is not None and bool(category['isthing']) != isthing:
                continue
            counts = self.pq_per_cat[cat_id]
            per_category[cat_id] = counts.qualities()
            if counts.tp + counts.fp + counts.fn:
                occurring.append(per_category[cat_id])
        n = len(occurring)
        mean = {
            key: sum(values[key] for values in occurring) / n if n else float('nan')
            for key in ('pq', 'sq', 'rq')
        }
        return {**mean, 'n': n}, per_category


_CONTENT: dict[str, dict[str, Any]] = {
    NAME: {},
    f'{NAME}.utils': {
        'rgb2id': rgb2id,
        'id2rgb': id2rgb,
        'IdGenerator': IdGenerator,
        'save_json': save_json,
    },
    f'{NAME}.evaluation': {
        'OFFSET': OFFSET,
        'VOID': VOID,
        'PQStat': PQStat,
        'PQStatCat': PQStatCat,
    },
}


class StandInFinder(MetaPathFinder, Loader):
    """Finds `panopticapi`; last on `sys.meta_path`, so that an installed one wins."""

    def find_spec(
        self,
        fullname: str,
        path: Any = None,  # a namespace's is no Sequence
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of the stand-in's modules and nothing for any other name."""
        if fullname not in _CONTENT or _belongs_to_another(fullname):
            return None
        return ModuleSpec(fullname, self, origin=__name__, is_package=fullname == NAME)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        vars(module).update(_CONTENT[module.__name__])


def _belongs_to_another(fullname: str) -> bool:
    """Return whether the submodule is asked of an installed `panopticapi`."""
    if fullname == NAME:
        return False
    spec = getattr(sys.modules.get(NAME), '__spec__', None)
    return spec is not None and not isinstance(spec.loader, StandInFinder)


def apply() -> None:
    """Let `import panopticapi` find the stand-in where none is installed.

    Imports nothing heavy and may be called any number of times.
    """
    if not any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder())
