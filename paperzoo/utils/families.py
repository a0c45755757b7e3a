"""Whose stack a model belongs to."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def family(model: 'nn.Module') -> str | None:
    """Return `'mmdet'` or `'mmseg'`, by whose detectors or segmentors a model extends.

    None for another model, such as one of episodes or sequences.

    Args:
        model: Any.

    Example:
        >>> from torch import nn
        >>> from paperzoo.utils.families import family
        >>> family(nn.Linear(2, 2)) is None
        True
    """
    packages = {cls.__module__.partition('.')[0] for cls in type(model).__mro__}
    return next((name for name in ('mmseg', 'mmdet') if name in packages), None)
