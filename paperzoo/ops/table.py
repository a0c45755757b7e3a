"""Which entry point is which of mmcv's ops. Importing it imports all of them."""

from collections.abc import Callable
from typing import Any

from paperzoo.ops import (
    bbox_overlaps,
    deform_conv,
    focal_loss,
    ms_deform_attn,
    nms,
    nms_match,
    roi_align,
    roi_pool,
    soft_nms,
    softmax_focal_loss,
)


def _not_compiled() -> str:
    """Return what mmcv's `collect_env` shows for a compiler that was not used."""
    return 'n/a'


OPS: dict[str, Callable[..., Any]] = {
    'bbox_overlaps': bbox_overlaps.bbox_overlaps,
    'deform_conv_backward_input': deform_conv.deform_conv_backward_input,
    'deform_conv_backward_parameters': deform_conv.deform_conv_backward_parameters,
    'deform_conv_forward': deform_conv.deform_conv_forward,
    'get_compiler_version': _not_compiled,
    'get_compiling_cuda_version': _not_compiled,
    'modulated_deform_conv_backward': deform_conv.modulated_deform_conv_backward,
    'modulated_deform_conv_forward': deform_conv.modulated_deform_conv_forward,
    'ms_deform_attn_backward': ms_deform_attn.ms_deform_attn_backward,
    'ms_deform_attn_forward': ms_deform_attn.ms_deform_attn_forward,
    'nms': nms.nms,
    'nms_match': nms_match.nms_match,
    'roi_align_backward': roi_align.roi_align_backward,
    'roi_align_forward': roi_align.roi_align_forward,
    'roi_pool_backward': roi_pool.roi_pool_backward,
    'roi_pool_forward': roi_pool.roi_pool_forward,
    'sigmoid_focal_loss_backward': focal_loss.sigmoid_focal_loss_backward,
    'sigmoid_focal_loss_forward': focal_loss.sigmoid_focal_loss_forward,
    'softmax_focal_loss_backward': softmax_focal_loss.softmax_focal_loss_backward,
    'softmax_focal_loss_forward': softmax_focal_loss.softmax_focal_loss_forward,
    'softnms': soft_nms.softnms,
}
