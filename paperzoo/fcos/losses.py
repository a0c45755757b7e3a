"""The losses of FCOS (Eq. 2) for boxes and centre-ness, and what classes divide by.

The focal loss of the classes is in `paperzoo.common`. All have mmdet's calling
convention.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.common import SigmoidCrossEntropyLoss, WeightedLoss
from paperzoo.errors import UserError, check_choice
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32

MOMENTUM = 0.9
FIRST_MEAN = 100.0


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

    Example:
        >>> one = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        >>> other = torch.tensor([[2.0, 0.0, 6.0, 2.0]])
        >>> aligned_iou_union(one, other)
        (tensor([0.3333]), tensor([12.]))

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

    Example:
        >>> one = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        >>> aligned_giou(one, torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
        tensor([-0.5000])

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
        pred, target = at_least_float32(pred), at_least_float32(target)
        return super().forward(pred, target, weight, avg_factor, reduction_override)


@MODELS.register_module()
class IoULoss(_BoxLoss):
    """The IoU loss: `-log(IoU)`, or `1 - IoU`, or `1 - IoU^2`.

    Args:
        mode: `'log'` (the paper's), `'linear'` or `'square'`.
        eps: Smallest IoU, against the logarithm of zero.
        smooth_iou: Add 1 to intersection and union, as the authors do: the loss is
            finite without `eps`, and boxes that do not overlap still get a gradient. It
            matters most for small boxes, such as those measured in strides.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Raises:
        UserError: If `mode` is unknown.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        >>> IoULoss(mode='linear')(box, box / 2)
        tensor(0.7500)

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

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        >>> GIoULoss()(box, box + 4)
        tensor(1.6667)

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

    Raises:
        UserError: If `use_sigmoid` is False.

    Example:
        >>> CenternessLoss()(torch.tensor([0.0]), torch.tensor([0.3]))
        tensor(0.6931)

    Paper: fcos "Center-ness"
    """

    WHY_SIGMOID = (
        'centre-ness is one number per location, a softmax over it is constant'
    )


class ClsNormalizer(nn.Module):
    """Returns what to divide the class loss by; all numbers are means over the ranks.

    Args:
        kind: `'fg'`, the number of positives (the paper's); `'moving_fg'`, its running
            mean, kept in a buffer that is saved with the weights; or `'all'`, the
            number of locations.

    Raises:
        UserError: If `kind` is unknown.

    Example:
        >>> ClsNormalizer('moving_fg')(torch.tensor(50.0), torch.tensor(4000.0))
        tensor(95.)

    Paper: fcos Eq. 2 (N_pos of its classification term)
    Differs: `'moving_fg'` and `'all'` are options of the authors' AdelaiDet.
    """

    moving_positives: Tensor

    def __init__(self, kind: str = 'fg') -> None:
        super().__init__()
        choices = ('fg', 'moving_fg', 'all')
        check_choice('FCOSHead', 'cls_normalizer', kind, choices)
        self.kind = kind
        if kind == 'moving_fg':
            self.register_buffer('moving_positives', torch.tensor(FIRST_MEAN))

    @torch.no_grad()
    def forward(
        self, positives: Float[Tensor, ''], locations: Float[Tensor, '']
    ) -> Float[Tensor, '']:
        """Return the divisor, at least 1.

        Args:
            positives: How many locations have an object, per rank.
            locations: How many there are, per rank.
        """
        if self.kind == 'all':
            return locations.clamp(min=1.0)
        if self.kind == 'moving_fg':
            mean = self.moving_positives
            if self.training:
                mean = MOMENTUM * mean + (1 - MOMENTUM) * positives
                # Replaced, not overwritten: a compiled backward pass may compute the
                # mean once more, from the buffer that it was given.
                self.moving_positives = mean
            return mean.clamp(min=1.0)
        return positives.clamp(min=1.0)


class LossInput(NamedTuple):
    """What one of the losses compares, a row per location of a batch.

    Attributes:
        pred: Predictions, (locations, ...).
        target: What they should be, (locations, ...).
        weight: How much each location counts, (locations), or None: all alike.
        avg_factor: What the sum is divided by.
    """

    pred: Tensor
    target: Tensor
    weight: Tensor | None
    avg_factor: Tensor


def reduced_loss(loss: nn.Module, given: LossInput) -> Float[Tensor, '']:
    """Return a loss of all rows together.

    Args:
        loss: A module with mmdet's calling convention.
        given: What it compares.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]] * 2)
        >>> given = LossInput(box / 2, box, torch.tensor([1.0, 0.0]), torch.tensor(3.0))
        >>> reduced_loss(IoULoss(mode='linear'), given)
        tensor(0.2500)
    """
    pred, target, weight, avg_factor = given
    return loss(pred, target, weight=weight, avg_factor=avg_factor)


def loss_per_row(loss: nn.Module, given: LossInput) -> Float[Tensor, ' rows']:
    """Return how much each row adds to `reduced_loss`, all its classes together.

    Args:
        loss: A module with mmdet's calling convention.
        given: What it compares.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]] * 2)
        >>> given = LossInput(box / 2, box, torch.tensor([1.0, 0.0]), torch.tensor(3.0))
        >>> loss_per_row(IoULoss(mode='linear'), given)
        tensor([0.2500, 0.0000])
    """
    pred, target, weight, avg_factor = given
    terms = loss(pred, target, weight=weight, reduction_override='none')
    # The reduced loss divides with the same guard against a factor of zero.
    guarded = avg_factor + torch.finfo(torch.float32).eps
    return terms.reshape(len(terms), -1).sum(dim=1) / guarded
