"""Colours of classes, as data sets give them."""

from typing import Any

Colour = tuple[int, int, int]


def colours_of(palette: Any) -> list[Colour] | None:
    """Return a palette as colours, RGB, or None if it is none.

    Args:
        palette: What a data set's `metainfo` or a checkpoint says.

    Example:
        >>> from paperzoo.utils.colours import colours_of
        >>> colours_of([[255, 0, 0]]), colours_of('coco')
        ([(255, 0, 0)], None)
    """
    if not isinstance(palette, list | tuple):
        return None
    try:
        found = [(int(r), int(g), int(b)) for r, g, b in palette]
    except (TypeError, ValueError, OverflowError):
        return None
    fit = all(value in range(256) for colour in found for value in colour)
    return found if found and fit else None
