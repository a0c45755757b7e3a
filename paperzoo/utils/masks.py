"""Masks as run lengths, and the ids of panoptic maps."""

from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

# An annotation in COCO's format, or a mask in it: {'size': [H, W], 'counts': text}.
Record = dict[str, Any]
# A panoptic map holds label + 1000 * instance in every pixel, as mmdet's do.
INSTANCE_OFFSET = 1000


def encode(
    mask: Bool[np.ndarray, 'height width'] | UInt8[np.ndarray, 'height width'],
) -> Record:
    """Return the run lengths of a mask, with a text that JSON can hold.

    Args:
        mask: True, or 1, on the object.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[False, True], [False, True]])
        >>> encode(mask)
        {'size': [2, 2], 'counts': '22'}
        >>> bool((decode({'segmentation': encode(mask)}) == mask).all())
        True
    """
    # Imported here: who only needs the offset needs no pycocotools.
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(rle['size']), 'counts': rle['counts'].decode('ascii')}


def decode(record: Record) -> Bool[np.ndarray, 'height width']:
    """Return the mask of an annotation.

    Args:
        record: With the run lengths of its mask as `segmentation`.

    Example:
        >>> decode({'segmentation': {'size': [2, 2], 'counts': '22'}})
        array([[False,  True],
               [False,  True]])
    """
    from pycocotools import mask as coco_mask

    return coco_mask.decode(record['segmentation']).astype(bool)
