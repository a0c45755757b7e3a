"""Changes of the size of an image, the same with torch and without it."""

from typing import Any

import cv2


def short_side_to(image: Any, size: int) -> Any:
    """Return an image (H, W, 3) whose short side has a length; squares stay squares.

    Args:
        image: Pixels of uint8.
        size: Of the short side.

    Example:
        >>> import numpy as np
        >>> from paperzoo.utils.pixels import short_side_to
        >>> short_side_to(np.zeros((40, 60, 3), np.uint8), 20).shape
        (20, 30, 3)
    """
    height, width = image.shape[:2]
    scale = size / min(height, width)
    if scale == 1:
        return image
    target = (round(width * scale), round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, target, interpolation=way)


def middle(image: Any, size: int) -> Any:
    """Return the square in the middle of an image; of a smaller one less.

    Args:
        image: (H, W, 3).
        size: Side of the square.

    Example:
        >>> import numpy as np
        >>> from paperzoo.utils.pixels import middle
        >>> middle(np.zeros((40, 60, 3), np.uint8), 32).shape
        (32, 32, 3)
    """
    top, left = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]
