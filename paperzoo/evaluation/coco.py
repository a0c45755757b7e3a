"""COCO average precision, evaluated by faster-coco-eval."""

from typing import Any
from unittest import mock

# isort: split
from faster_coco_eval.core import COCOeval_faster
from mmdet.evaluation.metrics import CocoMetric, coco_metric

from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.registry import METRICS


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's `CocoMetric` on faster-coco-eval: the same numbers.

    Args:
        ann_file: Annotation file; `data/...` follows `$PAPERZOO_DATA`.
        kwargs: Further arguments of mmdet's `CocoMetric`.

    Raises:
        UserError: If the annotation file is not there.

    Example:
        >>> from paperzoo.registry import METRICS
        >>> metric = METRICS.build(dict(type='paperzoo.FastCocoMetric', metric='bbox'))
        >>> metric.metrics
        ['bbox']
    """

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        found = ensure_generated(ann_file) if ann_file else None
        try:
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
        # mmdet has no argument for the evaluator class; it looks the name up when used.
        with mock.patch.object(coco_metric, 'COCOeval', COCOeval_faster):
            return super().compute_metrics(results)
