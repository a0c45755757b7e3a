"""Fresh memory, whose first write costs more than filling it, and who holds it."""

import math

import numpy as np
import torch
from torch import Tensor


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return uninitialised numbers of the type of `like`, on its device.

    On a CPU the memory is NumPy's, which asks the system for large pages.

    Args:
        like: Gives type and device.
        *shape: The shape.

    Example:
        >>> import torch
        >>> from paperzoo.ops.memory import empty
        >>> empty(torch.zeros(1, dtype=torch.half), 2, 3).shape
        torch.Size([2, 3])
    """
    if like.device.type != 'cpu':
        return like.new_empty(shape)
    numbers = math.prod(shape)
    memory = np.empty(max(1, numbers) * like.element_size(), dtype=np.uint8)
    return torch.from_numpy(memory).view(like.dtype)[:numbers].view(shape)


def hand_over(values: Tensor, buffer: Tensor) -> None:
    """Let a buffer of the same type hold these values, whatever its size was before.

    Args:
        values: What it will hold: their memory is shared, not copied.
        buffer: The tensor that is changed.

    Example:
        >>> import torch
        >>> from paperzoo.ops.memory import hand_over
        >>> hand_over(torch.ones(2), buffer := torch.zeros(0))
        >>> buffer
        tensor([1., 1.])
    """
    buffer.set_(
        values.untyped_storage(), values.storage_offset(), values.shape, values.stride()
    )
