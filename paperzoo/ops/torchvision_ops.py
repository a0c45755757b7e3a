"""The compiled operators of torchvision, for tensors on a GPU.

torchvision need not be there, and a wheel that was built for another torch raises all
kinds of errors when it is imported: whatever goes wrong, there is no compiled operator.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from torch import Tensor


@cache
def _operator(name: str) -> Callable[..., Tensor] | None:
    try:
        return getattr(import_module('torchvision.ops'), name)
    except Exception:
        # Beside another torch a RuntimeError: 'torchvision::nms does not exist'.
        return None


def has_torchvision() -> bool:
    """Return whether torchvision's operators can be imported.

    Example:
        >>> from paperzoo.ops.torchvision_ops import has_torchvision
        >>> isinstance(has_torchvision(), bool)
        True
    """
    return _operator('roi_align') is not None


def call_torchvision(name: str, *args: Any) -> Tensor | None:
    """Return what an operator of torchvision returns, or None if there is no such one.

    Args:
        name: Its name in `torchvision.ops`.
        *args: Its arguments, tensors on a GPU among them.

    Example:
        >>> from paperzoo.ops.torchvision_ops import call_torchvision
        >>> call_torchvision('no_such_operator') is None
        True
    """
    operator = _operator(name)
    try:
        return None if operator is None else operator(*args)
    except NotImplementedError:  # built without this kind of device
        return None
