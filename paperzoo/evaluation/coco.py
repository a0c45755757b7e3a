"""COCO average precision, evaluated by faster-coco-eval."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any
from unittest import mock

# isort: split
from faster_coco_eval.core import COCOeval_faster
from mmdet.evaluation.metrics import CocoMetric, coco_metric
from pycocotools.coco import COCO

from paperzoo.data.coco_api import NamedCOCO
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.registry import METRICS


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's `CocoMetric` on faster-coco-eval: the same numbers.

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

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        found = ensure_generated(ann_file) if ann_file else None
        try:
            with mock.patch.object(coco_metric, 'COCO', NamedCOCO):
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
        # mmdet has no argument for these classes; it looks the names up when used.
        with (
            mock.patch.object(coco_metric, 'COCOeval', RenumberedEval),
            mock.patch.object(coco_metric, 'COCO', NamedCOCO),
        ):
            return super().compute_metrics(results)


class RenumberedEval(COCOeval_faster):
    """faster-coco-eval on copies whose ids count from 1.

    It takes whole numbers only, and an object of id 0 for one that was not found.
    """

    cocoGt: Any  # noqa: N815 the parent's names, whose types are not known
    cocoDt: Any  # noqa: N815

    def evaluate(self) -> None:
        """Evaluate the images and categories of `params`."""
        # Sorted as pycocotools does: the order of images decides between equal scores.
        images = {
            key: number for number, key in enumerate(sorted(self.params.imgIds), 1)
        }
        categories = {key: number for number, key in enumerate(self.params.catIds, 1)}
        self.cocoGt: COCO = renumbered(self.cocoGt, images, categories)
        self.cocoDt: COCO = renumbered(self.cocoDt, images, categories)
        self.params.imgIds = list(images.values())
        self.params.catIds = list(categories.values())
        super().evaluate()


def renumbered(
    api: COCO, images: Mapping[Any, int], categories: Mapping[Any, int]
) -> COCO:
    """Return a copy of an annotation file with other ids; annotations count from 1.

    Args:
        api: The file, which stays as it is.
        images: New id of each image; the others are left out.
        categories: New id of each category that counts.

    Example:
        >>> from pycocotools.coco import COCO
        >>> api = COCO()
        >>> found = {'id': 0, 'image_id': 'a', 'category_id': 7}
        >>> api.dataset = {'images': [{'id': 'a'}], 'annotations': [found]}
        >>> renumbered(api, {'a': 1}, {7: 1}).dataset['annotations']
        [{'id': 1, 'image_id': 1, 'category_id': 1}]
    """
    copy = COCO()
    copy.dataset = {
        'images': [
            {**one, 'id': images[one['id']]}
            for one in api.dataset.get('images', ())
            if one['id'] in images
        ],
        'categories': [{'id': number} for number in categories.values()],
        'annotations': [
            {
                **one,
                'id': number,
                'image_id': images[one['image_id']],
                # Those of no class stay in the file, and out of all counts.
                'category_id': categories.get(one['category_id'], len(categories) + 1),
            }
            for number, one in enumerate(api.dataset.get('annotations', ()), 1)
            if one['image_id'] in images
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        copy.createIndex()
    return copy
