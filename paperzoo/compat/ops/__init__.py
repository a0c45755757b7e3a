"""mmcv's compiled ops in pure PyTorch, called as mmcv's Python wrappers call them.

Each file holds the mathematics as pure functions and, below them, the entry points,
which write into the buffers that mmcv passes. mmcv finds the entry points by the names
in `OPS`, through `paperzoo.compat.mmcv_ext`.
"""

from collections.abc import Callable
from typing import Any

from paperzoo.compat.ops import deform_conv, focal_loss, nms


def _not_compiled() -> str:
    """Return what mmcv's `collect_env` shows for a compiler that was not used."""
    return 'n/a'


OPS: dict[str, Callable[..., Any]] = {
    'deform_conv_backward_input': deform_conv.deform_conv_backward_input,
    'deform_conv_backward_parameters': deform_conv.deform_conv_backward_parameters,
    'deform_conv_forward': deform_conv.deform_conv_forward,
    'get_compiler_version': _not_compiled,
    'get_compiling_cuda_version': _not_compiled,
    'modulated_deform_conv_backward': deform_conv.modulated_deform_conv_backward,
    'modulated_deform_conv_forward': deform_conv.modulated_deform_conv_forward,
    'nms': nms.nms,
    'sigmoid_focal_loss_backward': focal_loss.sigmoid_focal_loss_backward,
    'sigmoid_focal_loss_forward': focal_loss.sigmoid_focal_loss_forward,
}
