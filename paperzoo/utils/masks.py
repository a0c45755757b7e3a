"""Masks as run lengths, and segments of panoptic maps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Record = dict[str, Any]
# What mmdet multiplies the instance's number by in a panoptic map.
INSTANCE_OFFSET = 1000


def encode(mask: NDArray[np.bool_]) -> Record:
    """Return the run lengths of a mask (H, W), with a text that JSON can hold."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(rle['size']), 'counts': rle['counts'].decode('ascii')}


def decode(record: Record) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a record with a segmentation."""
    return coco_mask.decode(record['segmentation']).astype(bool)
