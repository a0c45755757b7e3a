"""Operators on tensors, as functions that return their result; they know no paper.

Papers use them directly (`paperzoo.ops.nms.nms`, `paperzoo.ops.roi_align.roi_align`,
`paperzoo.ops.deform_conv.deform_conv2d`, ...). Below these, each file has the entry
points of mmcv's compiled ops (`*_forward`, `*_backward`), which write into the buffers
that mmcv passes; `paperzoo.compat.mmcv_ext` binds them to mmcv.
"""
