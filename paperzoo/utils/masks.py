"""Masks as run lengths, and the ids of panoptic maps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# An annotation in COCO's format, or a mask in it: {'size': [H, W], 'counts': text}.
Record = dict[str, Any]
# A panoptic map holds label + 1000 * instance in every pixel, as mmdet's do.
INSTANCE_OFFSET = 1000


def encode(
    mask: NDArray[np.bool_] | NDArray[np.uint8],
) -> Record:
    """Return the run lengths of a mask, with a text that JSON can hold.

    Args:
        mask: (H, W), true, or 1, on the object.

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


def decode(record: Record) -> NDArray[np.bool_]:
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


def is_whole(mask: Any) -> bool:
    """Return whether run lengths cover their size, each pixel once.

    pycocotools takes shorter ones, too, and fills the rest with what the memory holds.

    Args:
        mask: Run lengths: numbers, or the text that COCO's tools make of them.

    Example:
        >>> is_whole({'size': [2, 2], 'counts': '22'})
        True
        >>> is_whole({'size': [2, 2], 'counts': [1, 2]})
        False
    """
    if not isinstance(mask, dict):
        return False
    size, counts = mask.get('size'), mask.get('counts')
    if not isinstance(size, list | tuple) or len(size) != 2:
        return False
    if not all(type(side) is int and side >= 0 for side in size):
        return False
    if isinstance(counts, bytes):
        counts = counts.decode('latin-1')
    if isinstance(counts, str):
        counts = _counts(counts)
    if not isinstance(counts, list) or not all(type(run) is int for run in counts):
        return False
    return min(counts, default=0) >= 0 and sum(counts) == size[0] * size[1]


def _counts(text: str) -> list[int] | None:
    """Return the run lengths in a text, or None if it is none of COCO's.

    Five bits a character, low ones first; the sixth says that more follow, and the
    highest bit of a number is its sign. From the fourth on, differences to the run
    before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return None if shift else counts
