"""Box AP by how much of an object others hide."""

import json
import math
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from faster_coco_eval.core import COCOeval_faster
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import METRICS
from pycocotools import mask as mask_utils

from paperzoo.evaluation.coco import FastCocoMetric

# The hidden share of an object, from one number up to below the next.
LIMITS = {'whole': (0.0, 0.05), 'partly': (0.05, 0.25), 'largely': (0.25, 1.01)}
# No box has so large an area.
OUTSIDE = 1e12
MAX_DETECTIONS = 100
# IoU of a mask with the truth, in percent.
GOOD_MASKS = (50, 70, 90)

Record = dict[str, Any]


def hidden_shares(annotations: list[Record]) -> dict[int, float]:
    """Return the hidden share of each annotation, by its id.

    It is what the annotation says as `occluded`. Where it says nothing, nobody knows
    which of two objects lies in front: it is the largest share of its box that the box
    of one other object of the image covers.

    Args:
        annotations: Of COCO's format.
    """
    shares = {a['id']: a['occluded'] for a in annotations if 'occluded' in a}
    images = defaultdict(list)
    for annotation in annotations:
        images[annotation['image_id']].append(annotation)
    for own in images.values():
        covered = covered_shares(np.array([a['bbox'] for a in own], float))
        for annotation, share in zip(own, covered.tolist(), strict=True):
            shares.setdefault(annotation['id'], share)
    return shares


def covered_shares(boxes: np.ndarray) -> np.ndarray:
    """Return the largest share of each box that one other covers, (boxes,).

    Args:
        boxes: x, y, width, height, (boxes, 4).
    """
    start, size = boxes[:, :2], boxes[:, 2:]
    end = start + size
    common = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    shares = common.clip(0).prod(axis=-1) / size.prod(axis=-1).clip(1e-9)[:, None]
    np.fill_diagonal(shares, 0)
    return shares.max(axis=1)


def box_ious_of_good_masks(results: list, truth: COCO) -> dict[str, float]:
    """Return how good boxes are whose masks are good: mean IoU with the true boxes.

    Of each object it looks at the detection whose mask overlaps it most, whatever its
    class and score.

    Args:
        results: What `process` collected, `masks` among it where a model gives some.
        truth: The annotations; objects without `segmentation` are left out.

    Returns:
        `box_iou_if_mask_50`, `_70`, `_90`: the mean over the objects whose mask has at
        least this IoU, in percent; without such an object there is no number.
    """
    mask_ious, box_ious = [], []
    for _, found in results:
        ids = truth.getAnnIds(imgIds=[found['img_id']])
        objects = [a for a in truth.loadAnns(ids) if a.get('segmentation')]
        if not objects or not found.get('masks'):
            continue
        alone = [0] * len(objects)
        masks = [truth.annToRLE(a) for a in objects]
        overlap = mask_utils.iou(found['masks'], masks, alone)  # (found, objects)
        start, end = np.hsplit(found['bboxes'].astype(float), 2)
        boxes = np.array([a['bbox'] for a in objects], float)
        box_overlap = mask_utils.iou(np.hstack((start, end - start)), boxes, alone)
        best = overlap.argmax(axis=0), range(len(objects))
        mask_ious.extend(overlap[best])
        box_ious.extend(box_overlap[best])
    mask_iou, box_iou = np.array(mask_ious), np.array(box_ious)
    return {
        f'box_iou_if_mask_{percent}': round(float(box_iou[good].mean()), 3)
        for percent in GOOD_MASKS
        if (good := mask_iou >= percent / 100).any()
    }


@METRICS.register_module()
class OcclusionBoxMetric(FastCocoMetric):
    """COCO's box AP, also by how much of an object others hide.

    It adds `bbox_mAP_any_class`, the AP with classes ignored, and `bbox_mAP_whole`,
    `_partly` and `_largely`: objects that are hidden more or less are neither to be
    found nor wrong. A detection of no object at all counts as wrong in each of them,
    for nobody knows how hidden what it meant would be: compare models, not one number
    with the next.

    If there are masks, of the model and in the annotations, it adds how good the boxes
    of good masks are, see `box_ious_of_good_masks`.

    Boxes of a model that segments are those around its masks, if that is what it gives
    as `bboxes`, as `KNet` does.

    Args:
        kwargs: Those of `paperzoo.FastCocoMetric`, without `metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metric='bbox', **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return FastCocoMetric's numbers and those by occlusion.

        Args:
            results: What `process` collected: ground truth and prediction per image.
        """
        metrics = super().compute_metrics(results)
        with TemporaryDirectory() as folder:
            predictions = [prediction for _, prediction in results]
            files = self.results2json(predictions, f'{folder}/found')
            found = json.loads(Path(files['bbox']).read_text())
        if found:  # without any, mmdet has no numbers either
            everything = (0.0, math.inf)
            metrics['bbox_mAP_any_class'] = self._average_precision(
                found, everything, use_classes=False
            )
            for name, limits in LIMITS.items():
                metrics[f'bbox_mAP_{name}'] = self._average_precision(found, limits)
            metrics |= box_ious_of_good_masks(results, self._coco_api)
        return metrics

    def _average_precision(
        self,
        found: list[Record],
        limits: tuple[float, float],
        use_classes: bool = True,
    ) -> float:
        """Return the AP of the objects whose hidden share lies within the limits."""
        dataset = self._coco_api.dataset
        shares = hidden_shares(dataset['annotations'])
        truth = COCO()
        # An object outside of the range of areas is left out by COCO's evaluation, in
        # which there is no other way to do so that does not treat it as a crowd.
        truth.dataset = dataset | {
            'annotations': [
                {
                    **a,
                    'area': 1.0
                    if limits[0] <= shares[a['id']] < limits[1]
                    else OUTSIDE,
                }
                for a in dataset['annotations']
            ]
        }
        truth.createIndex()
        evaluation = COCOeval_faster(
            truth, truth.loadRes([dict(row) for row in found]), 'bbox'
        )
        params = evaluation.params
        params.useCats = int(use_classes)
        params.catIds, params.imgIds = self.cat_ids, self.img_ids
        params.iouThrs, params.maxDets = self.iou_thrs, [MAX_DETECTIONS]
        params.areaRng, params.areaRngLbl = [[0, OUTSIDE / 2]], ['all']
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval['precision']
        known = precision[precision > -1]
        return round(float(known.mean()), 3) if known.size else float('nan')
