"""Half precision: where there is some, and up to single where sums need it."""

import torch
from torch import Tensor

from paperzoo.errors import UserError


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


def native_bfloat16(kind: str) -> bool:
    """Return whether a device computes in bfloat16 itself, faster than in float32.

    Args:
        kind: `'cpu'`, `'cuda'` or another type of a device.

    Example:
        >>> isinstance(native_bfloat16('cpu'), bool), native_bfloat16('meta')
        (True, False)
    """
    if kind == 'cpu':
        supported = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', None)
        return bool(supported and supported())
    if kind == 'cuda':
        available = torch.cuda.is_available()
        return available and torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def precision_on(kind: str, asked: str) -> str:
    """Return the precision that a device computes in, of what was asked for.

    Args:
        kind: `'cpu'`, `'cuda'` or another type of a device.
        asked: `'float32'`, `'bfloat16'`, `'float16'`, or `'auto'`, which is bfloat16
            where the device computes in it.

    Raises:
        UserError: If the device has no such precision.

    Example:
        >>> precision_on('cpu', 'float32'), precision_on('meta', 'auto')
        ('float32', 'float32')
    """
    if asked == 'auto':
        return 'bfloat16' if native_bfloat16(kind) else 'float32'
    if asked == 'bfloat16' and not native_bfloat16(kind):
        raise UserError(
            f"precision='bfloat16': this {kind} does not compute in it, and would be "
            "slower than in float32; 'auto' takes it only where it is faster"
        )
    if asked == 'float16' and kind != 'cuda':
        raise UserError(
            f"precision='float16' needs a GPU of NVIDIA; on this {kind}: 'auto'"
        )
    return asked
