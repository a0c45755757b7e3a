"""Do boxes have an area, and lie in their image, where their masks are?"""

from collections.abc import Sequence

FLAT = 'flat'
OUTSIDE = 'outside'
BEYOND = 'beyond'


def box_flaw(box: Sequence[float], size: Sequence[float]) -> tuple[str, float]:
    """Return what is wrong with a box, and how far it reaches out of its image.

    Args:
        box: Left, top, width, height in pixels.
        size: Width and height of the image.

    Returns:
        `FLAT` for a side below a pixel, `OUTSIDE` for one that does not touch the
        image, `BEYOND` for one that reaches out by more than a pixel, or `''`; and
        the pixels.

    Example:
        >>> from paperzoo.preflight.boxes import box_flaw
        >>> box_flaw([5, 5, 4, 0], (8, 8)), box_flaw([5, 5, 9, 2], (8, 8))
        (('flat', 0), ('beyond', 6))
    """
    left, top, width, height = box
    right, bottom = left + width, top + height
    if width < 1 or height < 1:
        return FLAT, 0
    reach = max(-left, -top, right - size[0], bottom - size[1])
    if min(right, size[0]) <= max(left, 0) or min(bottom, size[1]) <= max(top, 0):
        return OUTSIDE, reach
    return (BEYOND if reach > 1 else ''), reach


def apart(polygons: list[list[float]], box: Sequence[float]) -> bool:
    """Return whether polygons do not touch a box.

    Args:
        polygons: x and y in turn, in pixels.
        box: Left, top, width, height.

    Example:
        >>> from paperzoo.preflight.boxes import apart
        >>> apart([[0, 0, 4, 0, 4, 4]], [5, 0, 9, 9])
        True
    """
    xs = [x for part in polygons for x in part[0::2]]
    ys = [y for part in polygons for y in part[1::2]]
    left, top, width, height = box
    return min(max(xs), left + width) < max(min(xs), left) or min(
        max(ys), top + height
    ) < max(min(ys), top)
