"""Masks for sets that have boxes only."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class EllipsesAsMasks(BaseTransform):
    """Give each object the ellipse in its box as its mask, which cells nearly are.

    The box around that mask is the box. It stands behind `LoadAnnotations`.
    """

    def transform(self, results: dict) -> dict:
        """Add `gt_masks`."""
        height, width = results['img_shape'][:2]
        boxes = get_box_tensor(results['gt_bboxes']).numpy()
        masks = ellipses(boxes, height, width)
        results['gt_masks'] = BitmapMasks(masks, height, width)
        return results


def ellipses(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels' centres lie in the ellipse of each box, (N, H, W), uint8.

    Args:
        boxes: x0, y0, x1, y1, (N, 4).
        height: Of the image.
        width: Of the image.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    radius = ((boxes[:, 2:] - boxes[:, :2]) / 2).clip(1e-6)
    x, y = (
        ((np.arange(side) + 0.5 - middle[:, axis, None]) / radius[:, axis, None]) ** 2
        for axis, side in enumerate((width, height))
    )
    return (x[:, None, :] + y[:, :, None] <= 1).astype(np.uint8)
