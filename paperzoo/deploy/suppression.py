"""Suppression of a batch as one operator: of PyTorch here, of ONNX in a file."""

from typing import Any

import torch
from torch import Tensor

from paperzoo.ops.nms import nms


@torch.library.custom_op('paperzoo::kept_boxes', mutates_args=())
def kept_boxes(
    boxes: Tensor, scores: Tensor, iou_threshold: float, most: int
) -> Tensor:
    """Return which boxes suppression keeps, as ONNX's NonMaxSuppression lists them.

    Args:
        boxes: (B, N, 4), x0, y0, x1, y1.
        scores: (B, N); those that are not above 0 are no boxes.
        iou_threshold: A box that overlaps a kept one by more than this is dropped.
        most: How many are kept of an image, at most.

    Returns:
        (kept, 3): number of the image, 0, number of the box.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.suppression import kept_boxes
        >>> boxes = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 8]]])
        >>> kept_boxes(boxes, torch.tensor([[0.5, 0.9]]), 0.5, 10)
        tensor([[0, 0, 1]])
    """
    rows = []
    for image in range(boxes.size(0)):
        there = (scores[image] > 0).nonzero()[:, 0]
        best = nms(boxes[image][there], scores[image][there], iou_threshold)
        kept = there[best][:most]
        number = torch.full_like(kept, image)
        rows.append(torch.stack([number, torch.zeros_like(kept), kept], 1))
    return torch.cat(rows)


@kept_boxes.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((count, 3), dtype=torch.int64)


def onnx_translations() -> dict[Any, Any]:
    """Return how ONNX writes it, for `torch.onnx.export`.

    Example:
        >>> from paperzoo.deploy.suppression import onnx_translations
        >>> [str(operator) for operator in onnx_translations()]
        ['paperzoo.kept_boxes.default']
    """
    from onnxscript import opset20

    op: Any = opset20  # its types know no constants

    def non_max_suppression(
        boxes: Any, scores: Any, iou_threshold: float, most: int
    ) -> Any:
        return op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[most]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[0.0]),
        )

    return {torch.ops.paperzoo.kept_boxes.default: non_max_suppression}
