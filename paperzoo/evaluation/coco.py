"""COCO average precision: mmdet's metric on arrays, evaluated by hotcoco."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

# isort: split
import hotcoco
import numpy as np
from hotcoco import mask as hotcoco_mask
from mmdet.evaluation.metrics import CocoMetric, coco_metric
from mmengine.fileio import load

from paperzoo.data.coco_api import NamedCOCO
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.registry import METRICS


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's `CocoMetric` on hotcoco: the same numbers.

    Ids in the file may be anything that is unique, also 0 or texts, and categories may
    come in another order than the data set's classes: they are matched by name. A class
    that the file does not have counts for nothing.

    Args:
        ann_file: Annotation file; `data/...` follows `$PAPERZOO_DATA`.
        kwargs: Further arguments of mmdet's `CocoMetric`.

    Raises:
        UserError: If the annotation file is not there, or its ids are ambiguous.

    Example:
        >>> from paperzoo.registry import METRICS
        >>> metric = METRICS.build(dict(type='paperzoo.FastCocoMetric', metric='bbox'))
        >>> metric.metrics
        ['bbox']
    """

    # Whether mmdet's `compute_metrics` runs, which takes arrays as well as files.
    _on_arrays = False

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        found = ensure_generated(ann_file) if ann_file else None
        try:
            with mock.patch.object(coco_metric, 'COCO', _Truth):
                super().__init__(ann_file=found, **kwargs)
        except FileNotFoundError as error:
            raise UserError(
                f"annotation file not found: ann_file='{ann_file}' of "
                f'{type(self).__name__}, looked for at {found}. Set PAPERZOO_DATA, or '
                '--cfg-options val_evaluator.ann_file=PATH test_evaluator.ann_file=PATH'
            ) from error

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return mmdet's metrics (`bbox_mAP`, ...), each a fraction of 1.

        Args:
            results: What `process` collected: ground truth and prediction per image.
        """
        # mmdet has no argument for these; it looks the names up when used.
        with mock.patch.multiple(
            coco_metric,
            COCO=_Truth,
            COCOeval=ArrayEval,
            COCOevalMP=ArrayEval,  # it is no slower in one process
            load=lambda found: found if isinstance(found, Found) else load(found),
        ):
            self._on_arrays = True
            try:
                return super().compute_metrics(results)
            finally:
                self._on_arrays = False

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Return the files by metric as mmdet does; to `compute_metrics` arrays.

        Args:
            results: Of each image.
            outfile_prefix: Where files go; for arrays only where the user asks for
                them.
        """
        if not self._on_arrays:
            return super().results2json(results, outfile_prefix)
        if self.outfile_prefix is not None:
            super().results2json(results, outfile_prefix)
        boxes = Found.of(results, 'scores', with_masks=False)
        files = {'bbox': boxes, 'proposal': boxes}
        if 'masks' in results[0]:
            files['segm'] = Found.of(results, 'mask_scores', with_masks=True)
        return files


@dataclass(frozen=True)
class Found:
    """The results of all images, one after the other.

    Attributes:
        images: Id of the image of each result.
        counts: How many results each image has, in the order of its id here.
        labels: Class of each result.
        boxes: x, y, width and height of each.
        scores: Score of each.
        masks: Run lengths of each; None where boxes are evaluated.
    """

    images: list[Any]
    counts: list[int]
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: list[dict] | None

    @classmethod
    def of(cls, results: Sequence[dict], key: str, with_masks: bool) -> 'Found':
        """Return the results of each image together.

        Args:
            results: Of each image, as mmdet's metric collects them.
            key: What holds the scores; `scores` if there is no such thing.
            with_masks: Whether masks are evaluated.

        Example:
            >>> import numpy as np
            >>> image = {'img_id': 7, 'bboxes': np.array([[1.0, 2.0, 4.0, 9.0]])}
            >>> image |= {'labels': np.array([1]), 'scores': np.array([0.5])}
            >>> Found.of([image], 'scores', with_masks=False).boxes
            array([[1., 2., 3., 7.]])
        """
        # mmdet computes in Python's precision, whatever that of the boxes is.
        corners = _joined([one['bboxes'] for one in results]).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        return cls(
            images=[one.get('img_id', number) for number, one in enumerate(results)],
            counts=[len(one['labels']) for one in results],
            labels=_joined([one['labels'] for one in results]).astype(int),
            boxes=np.concatenate([corners[:, :2], sides], axis=1),
            scores=_joined([one.get(key, one['scores']) for one in results]),
            masks=[m for one in results for m in one['masks']] if with_masks else None,
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield nothing: mmdet takes the box away from each result of masks."""
        return iter(())


def _joined(parts: list[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


class _Truth(NamedCOCO):
    """An annotation file that takes arrays of results, and is kept as arrays."""

    def loadRes(self, found: Any) -> Any:  # noqa: N802
        """Return results as they are; IndexError without any, as pycocotools."""
        if not isinstance(found, Found):
            return super().loadRes(found)
        if not len(found.labels):
            raise IndexError('no results')
        return found

    def arrays(
        self, images: dict[Any, int], categories: dict[Any, int], masks: bool
    ) -> Any:
        """Return the objects of some images for hotcoco, with other ids.

        Args:
            images: New id of each image; the others are left out.
            categories: New id of each category that counts.
            masks: Whether masks are evaluated.
        """
        key = (tuple(images), tuple(categories), masks)
        known = self.__dict__.setdefault('_arrays', {})
        if key not in known:
            known[key] = self._made(images, categories, masks)
        return known[key]

    def _made(
        self, images: dict[Any, int], categories: dict[Any, int], masks: bool
    ) -> Any:
        own = [
            one
            for one in self.dataset.get('annotations', ())
            if one['image_id'] in images
        ]
        boxes = np.array([one.get('bbox', (0, 0, 0, 0)) for one in own], np.float64)
        boxes = boxes.reshape(-1, 4)
        columns: dict[str, Any] = {
            'area': np.array(
                [
                    one['area'] if 'area' in one else box[2] * box[3]
                    for one, box in zip(own, boxes.tolist(), strict=True)
                ],
                np.float64,
            ),
            'iscrowd': np.array([int(one.get('iscrowd') or 0) for one in own], int),
        }
        if masks:
            columns['segmentation'] = [_text(self.annToRLE(one)) for one in own]
        # Those of no class stay in the file, and out of all counts.
        none = len(categories) + 1
        return hotcoco.COCO.from_arrays(
            [{**self._size(key), 'id': number} for key, number in images.items()],
            [{'id': number, 'name': str(number)} for number in range(1, none + 1)],
            np.array([images[one['image_id']] for one in own], int),
            np.array([categories.get(one['category_id'], none) for one in own], int),
            boxes,
            **columns,
        )

    def _size(self, key: Any) -> dict[str, int]:
        image = self.imgs.get(key, {})
        return {side: image.get(side, 0) for side in ('width', 'height')}


def _text(mask: dict) -> dict:
    counts = mask['counts']
    return {**mask, 'counts': counts.decode() if isinstance(counts, bytes) else counts}


class ArrayEval:
    """What mmdet's metric asks of pycocotools' `COCOeval`, answered by hotcoco.

    Ids may be of any kind: hotcoco, which takes whole numbers, gets numbers from 1 on.

    Args:
        truth: The annotation file.
        found: The results.
        kind: `'bbox'` or `'segm'`.
    """

    def __init__(self, truth: _Truth, found: Found, kind: str) -> None:
        self.truth, self.found, self.kind = truth, found, kind
        self.params = _Params()

    def evaluate(self) -> None:
        """Evaluate the images and categories of `params`, in an order by their ids."""
        params = self.params
        # Sorted as pycocotools does: the order of images decides between equal scores.
        images = {key: number for number, key in enumerate(sorted(params.imgIds), 1)}
        categories = {key: number for number, key in enumerate(params.catIds, 1)}
        masks = self.kind == 'segm'
        truth = self.truth.arrays(images, categories, masks)
        results = self._results(truth, images, list(categories.values()))
        self._evaluation = hotcoco.COCOeval(truth, results, self.kind)
        own = self._evaluation.params
        own.imgIds, own.catIds = list(images.values()), list(categories.values())
        own.iouThrs, own.maxDets = [float(x) for x in params.iouThrs], params.maxDets
        own.useCats = bool(params.useCats)
        with _quiet():
            self._evaluation.evaluate()

    def _results(self, truth: Any, images: dict[Any, int], numbers: list[int]) -> Any:
        """Return the results for hotcoco."""
        found = self.found
        unknown = [key for key in found.images if key not in images]
        if unknown:
            raise UserError(
                f'a result is of the image {unknown[0]!r}, which the annotation file '
                'does not have: evaluate with the ann_file of the data set'
            )
        image = np.repeat([images[key] for key in found.images], found.counts)
        labels = np.array(numbers)[found.labels]
        rows = np.column_stack([image, found.boxes, found.scores, labels])
        with _quiet():
            if found.masks is None:
                return truth.load_res(rows)
            results = truth.load_res(rows, segmentation=found.masks)
            # Not that of the box.
            area = np.asarray(hotcoco_mask.area(found.masks), np.float64)
            results.update_anns(ids=np.arange(1, len(area) + 1), area=area)
        return results

    def accumulate(self) -> None:
        """Make the tables of precision and recall."""
        self._evaluation.accumulate()

    def summarize(self) -> None:
        """Print the twelve numbers, and keep them as `stats`."""
        with _quiet(), contextlib.redirect_stdout(io.StringIO()):
            self._evaluation.summarize()
        print(*self._evaluation.summary_lines(), sep='\n')
        self.stats, self.eval = self._evaluation.stats, self._evaluation.eval


class _Params:
    """The settings that mmdet's metric makes, in pycocotools' names."""

    imgIds: list[Any]  # noqa: N815
    catIds: list[Any]  # noqa: N815
    iouThrs: Any  # noqa: N815
    maxDets: list[int]  # noqa: N815
    useCats: int = 1  # noqa: N815


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what hotcoco says about settings that are not the leaderboard's."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='hotcoco')
        yield
