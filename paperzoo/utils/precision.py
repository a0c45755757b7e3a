"""Half precision up to single, where sums need it."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in at least single precision.

    Args:
        tensor: Of any shape and type; one that is no half comes back as it is.

    Example:
        >>> import torch
        >>> at_least_float32(torch.ones(2, dtype=torch.float16)).dtype
        torch.float32
        >>> at_least_float32(torch.ones(2, dtype=torch.float64)).dtype
        torch.float64
    """
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if half else tensor


def cpu_has_bfloat16() -> bool:
    """Return whether oneDNN computes in bfloat16 here, instead of imitating it.

    Example:
        >>> from paperzoo.utils.precision import cpu_has_bfloat16
        >>> cpu_has_bfloat16() in (True, False)
        True
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
