"""The losses of FCOS for boxes and centre-ness, with mmdet's calling convention."""

import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.common import SigmoidCrossEntropyLoss, WeightedLoss
from paperzoo.registry import MODELS
from paperzoo.utils.errors import UserError


def _areas(boxes: Float[Tensor, '*boxes 4']) -> Float[Tensor, '*boxes']:
    return _area(boxes[..., 2:] - boxes[..., :2])


def _area(sizes: Float[Tensor, '*boxes 2']) -> Float[Tensor, '*boxes']:
    # The gradient of prod() asks the device whether a side is zero; this one does not.
    width, height = sizes.unbind(-1)
    return width * height


def aligned_iou_union(
    pred: Float[Tensor, '*boxes 4'],
    target: Float[Tensor, '*boxes 4'],
    eps: float = 1e-6,
    smooth: bool = False,
) -> tuple[Float[Tensor, '*boxes'], Float[Tensor, '*boxes']]:
    """Return intersection over union, and the union, of each box with its partner.

    Args:
        pred: Boxes as x0, y0, x1, y1.
        target: As many boxes.
        eps: Smallest union, against a division by zero.
        smooth: Add 1 to the intersection and to the union of the ratio, as the authors
            do; the union that is returned stays as it is.

    Paper: fcos Eq. 2 (its box term)
    """
    start = torch.maximum(pred[..., :2], target[..., :2])
    end = torch.minimum(pred[..., 2:], target[..., 2:])
    overlap = _area((end - start).clamp(min=0))
    union = _areas(pred) + _areas(target) - overlap
    if smooth:
        return (overlap + 1) / (union + 1), union
    union = union.clamp(min=eps)
    return overlap / union, union


def aligned_giou(
    pred: Float[Tensor, '*boxes 4'],
    target: Float[Tensor, '*boxes 4'],
    eps: float = 1e-6,
    smooth: bool = False,
) -> Float[Tensor, '*boxes']:
    """Return the generalised IoU of each box with its partner, from -1 to 1.

    It is the IoU less the part of the enclosing box that neither of the two covers, so
    boxes that do not overlap still get a gradient.

    Args:
        pred: Boxes as x0, y0, x1, y1.
        target: As many boxes.
        eps: Smallest union and smallest enclosing area, against a division by zero.
        smooth: As the authors do, smooth the IoU (see `aligned_iou_union`) and add 1e-7
            to the enclosing area instead of holding it above `eps`.

    Paper: fcos-journal
    """
    iou, union = aligned_iou_union(pred, target, eps, smooth)
    start = torch.minimum(pred[..., :2], target[..., :2])
    end = torch.maximum(pred[..., 2:], target[..., 2:])
    enclosing = _area((end - start).clamp(min=0))
    enclosing = enclosing + 1e-7 if smooth else enclosing.clamp(min=eps)
    return iou - (enclosing - union) / enclosing


class _BoxLoss(WeightedLoss):
    """A loss per pair of boxes.

    Args:
        eps: Against divisions by zero and the logarithm of zero.
        smooth_iou: Add 1 to intersection and union, as the authors do.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.
    """

    def __init__(
        self,
        *,
        eps: float = 1e-6,
        smooth_iou: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        self.eps = eps
        self.smooth_iou = smooth_iou

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the weighted loss, reduced.

        Args:
            pred: Boxes as x0, y0, x1, y1, (boxes, 4).
            target: As many boxes.
            weight: One weight per box, or four, of which the mean counts.
            avg_factor: What `'mean'` divides the sum by.
            reduction_override: Replaces the reduction given to the constructor.
        """
        if weight is not None and weight.dim() > 1:
            weight = weight.mean(dim=-1)
        # Areas overflow half precision: 300 x 300 pixels are enough.
        pred, target = (
            boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
            for boxes in (pred, target)
        )
        return super().forward(pred, target, weight, avg_factor, reduction_override)


@MODELS.register_module()
class IoULoss(_BoxLoss):
    """The IoU loss: `-log(IoU)`, or `1 - IoU`, or `1 - IoU^2`.

    Args:
        mode: `'log'` (the paper's), `'linear'` or `'square'`.
        eps: Smallest IoU and smallest union.
        smooth_iou: Add 1 to intersection and union, as the authors do: the loss is
            finite without `eps`, and boxes that do not overlap still get a gradient. It
            matters most for small boxes, such as those measured in strides.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Paper: fcos Eq. 2 (its box term)
    Differs: as in mmdet the IoU is held above `eps`; with `smooth_iou` it is the
        authors'.
    """

    def __init__(
        self,
        *,
        mode: str = 'log',
        eps: float = 1e-6,
        smooth_iou: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            eps=eps,
            smooth_iou=smooth_iou,
            reduction=reduction,
            loss_weight=loss_weight,
        )
        if mode not in ('log', 'linear', 'square'):
            raise UserError(f"IoULoss(mode={mode!r}): use 'log', 'linear' or 'square'")
        self.mode = mode

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each pair of boxes."""
        iou = aligned_iou_union(pred, target, smooth=self.smooth_iou)[0]
        if not self.smooth_iou:
            iou = iou.clamp(min=self.eps)
        if self.mode == 'log':
            return -iou.log()
        return 1 - (iou if self.mode == 'linear' else iou.square())


@MODELS.register_module()
class GIoULoss(_BoxLoss):
    """The generalised IoU loss, `1 - GIoU`.

    Args:
        eps: Smallest union and smallest enclosing area.
        smooth_iou: Add 1 to the intersection and the union of the IoU, and 1e-7 to the
            enclosing area, as the authors do.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Paper: fcos-journal
    """

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each pair of boxes."""
        return 1 - aligned_giou(pred, target, self.eps, self.smooth_iou)


@MODELS.register_module()
class CenternessLoss(SigmoidCrossEntropyLoss):
    """Binary cross entropy between a centre-ness logit and the centre-ness.

    Args:
        use_sigmoid: Must be True; it is there so that the arguments of mmdet's
            `CrossEntropyLoss` fit.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Paper: fcos "Center-ness"
    """

    WHY_SIGMOID = (
        'centre-ness is one number per location, a softmax over it is constant'
    )
