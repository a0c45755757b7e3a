"""Half precision in, at least float32 inside."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """Return `x`, in float32 if it is of half precision, where sums would be coarse."""
    return x.float() if x.dtype in (torch.half, torch.bfloat16) else x
