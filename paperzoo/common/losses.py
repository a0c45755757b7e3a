"""The losses that papers share, and the weighting of all: cross entropy and dice.

The focal loss, which computes its own gradient, is in focal.py.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32


def weighted_reduction(
    loss: Float[Tensor, '*shape'],
    weight: Shaped[Tensor, '...'] | None = None,
    reduction: str = 'mean',
    avg_factor: Tensor | float | int | None = None,
) -> Float[Tensor, '...']:
    """Weight a loss per element and reduce it, by the conventions of mmdet's losses.

    Args:
        loss: The loss of each element.
        weight: One weight per element; anything that broadcasts against `loss`.
        reduction: `'none'`, `'mean'` or `'sum'`.
        avg_factor: What `'mean'` divides the sum by, not the number of elements.

    Raises:
        UserError: If `check_reduction` refuses the reduction.

    Example:
        >>> import torch
        >>> from paperzoo.common import weighted_reduction
        >>> loss, weight = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])
        >>> weighted_reduction(loss, weight), weighted_reduction(loss, weight, 'sum')
        (tensor(3.), tensor(6.))
    """
    check_reduction(reduction, None)
    if weight is not None:
        loss = loss * weight
    if reduction == 'none':
        return loss
    if reduction == 'mean' and avg_factor is None:
        # Of nothing it is zero, with a slope, as in mmdet's losses of boxes.
        return loss.mean() if loss.numel() else loss.sum()
    check_reduction(reduction, avg_factor)
    return average(loss.sum(), avg_factor)


def check_reduction(reduction: str, avg_factor: Tensor | float | int | None) -> None:
    """Refuse a reduction that is none, or that would not divide by the factor.

    Args:
        reduction: Should be `'none'`, `'mean'` or `'sum'`.
        avg_factor: None unless the reduction divides by it.

    Raises:
        UserError: If `reduction` is unknown, or `'sum'` although there is an
            `avg_factor`.

    Example:
        >>> from paperzoo.common.losses import check_reduction
        >>> check_reduction('mean', avg_factor=4)
    """
    if reduction not in ('none', 'mean', 'sum'):
        raise UserError(f"reduction={reduction!r}: use 'none', 'mean' or 'sum'")
    if reduction == 'sum' and avg_factor is not None:
        raise UserError(
            "reduction='sum' in a loss whose caller divides by an avg_factor: set "
            "reduction='mean' in that loss of the config"
        )


def fitting_weight(weight: Tensor | None, loss: Tensor) -> Tensor | None:
    """Return weights in a shape that broadcasts against the loss.

    Args:
        weight: One per element, also flattened, or one per row; or None.
        loss: Of each element, or what has its shape.

    Example:
        >>> import torch
        >>> from paperzoo.common.losses import fitting_weight
        >>> loss = torch.ones(2, 3)
        >>> [fitting_weight(torch.ones(n), loss).shape for n in (2, 6)]
        [torch.Size([2, 1]), torch.Size([2, 3])]
    """
    if weight is None or weight.dim() >= loss.dim():
        return weight
    if weight.dim() == 1 and weight.numel() == loss.numel():
        return weight.reshape(loss.shape)  # as mmdet's FSAF gives them
    return weight.unsqueeze(-1)


def average(
    total: Float[Tensor, '*shape'], avg_factor: Tensor | float | int | None
) -> Float[Tensor, '*shape']:
    """Divide a sum by the factor, if there is one.

    Args:
        total: The sum.
        avg_factor: The factor, such as the number of positive samples.

    Example:
        >>> import torch
        >>> from paperzoo.common.losses import average
        >>> average(torch.tensor(6.0), 3), average(torch.tensor(6.0), None)
        (tensor(2.), tensor(6.))
    """
    if avg_factor is None:
        return total
    # mmdet's guard against a factor of zero; without it the numbers would differ.
    return total / (avg_factor + torch.finfo(torch.float32).eps)


def mean_cross_entropy(
    logits: Float[Tensor, 'samples classes *places'],
    labels: Int[Tensor, 'samples *places'],
    ignore_index: int = -100,
) -> Float[Tensor, '']:
    """Return the mean cross entropy of the labels that count; 0 if none does.

    `F.cross_entropy` divides by their number: of none its mean is NaN.

    Args:
        logits: Scores of the classes.
        labels: The classes.
        ignore_index: Label of what does not count.

    Example:
        >>> import torch
        >>> from paperzoo.common.losses import mean_cross_entropy
        >>> mean_cross_entropy(torch.zeros(2, 4), torch.tensor([1, -1]), -1)
        tensor(1.3863)
    """
    # Their sum overflows half precision.
    total = F.cross_entropy(
        at_least_float32(logits), labels, ignore_index=ignore_index, reduction='sum'
    )
    return total / (labels != ignore_index).sum().clamp(min=1)


class WeightedLoss(nn.Module):
    """A loss with mmdet's calling convention; subclasses give the loss per element.

    Args:
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Example:
        >>> import torch
        >>> from paperzoo.common import WeightedLoss
        >>> class Distance(WeightedLoss):
        ...     def elementwise(self, pred, target):
        ...         return (pred - target).abs()
        >>> loss = Distance(loss_weight=2.0)
        >>> loss(torch.tensor([1.0, 4.0]), torch.zeros(2), avg_factor=5)
        tensor(2.)
    """

    def __init__(self, *, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = reduction
        self.loss_weight = loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each element, unweighted."""
        raise NotImplementedError

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
            pred: The prediction.
            target: What it should be.
            weight: One weight per element, also flattened, or per row of it.
            avg_factor: What `'mean'` divides the sum by.
            reduction_override: Replaces the reduction given to the constructor.
        """
        loss = self.elementwise(pred, target)
        weight = fitting_weight(weight, loss)
        reduction = reduction_override or self.reduction
        loss = weighted_reduction(loss, weight, reduction, avg_factor)
        return self.loss_weight * loss


class SigmoidCrossEntropyLoss(WeightedLoss):
    """Binary cross entropy between logits and targets from 0 to 1.

    Args:
        use_sigmoid: Must be True; it is there so that the arguments of mmdet's
            `CrossEntropyLoss` fit.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Raises:
        UserError: If `use_sigmoid` is False.

    Example:
        >>> import torch
        >>> from paperzoo.common import SigmoidCrossEntropyLoss
        >>> SigmoidCrossEntropyLoss()(torch.zeros(3), torch.tensor([0, 1, 1]))
        tensor(0.6931)
    """

    WHY_SIGMOID = 'each logit is a question of its own'

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if not use_sigmoid:
            raise UserError(
                f'{type(self).__name__}(use_sigmoid=False): {self.WHY_SIGMOID}; set '
                'use_sigmoid=True in the config'
            )

    def elementwise(
        self, pred: Float[Tensor, '*shape'], target: Shaped[Tensor, '*shape']
    ) -> Float[Tensor, '*shape']:
        """Return the cross entropy of each logit.

        Args:
            pred: Logits.
            target: From 0 to 1, of any type.
        """
        return F.binary_cross_entropy_with_logits(
            pred, target.to(pred.dtype), reduction='none'
        )


def dice_loss(
    pred: Float[Tensor, 'masks *pixels'],
    target: Float[Tensor, 'masks *pixels'],
    eps: float = 1e-3,
    naive: bool = False,
) -> Float[Tensor, ' masks']:
    """Return one minus the dice coefficient of each mask with its partner.

    It is `1 - 2 <p, t> / (|p|^2 + |t|^2)`, or naive, with sums in place of squares,
    `1 - 2 <p, t> / (sum p + sum t)`. For hard masks the two are the same.

    Args:
        pred: Probabilities.
        target: Masks, hard or soft.
        eps: Added once to each square of the denominator; in the naive form, to
            numerator and denominator.
        naive: The naive form.

    Example:
        >>> import torch
        >>> from paperzoo.common import dice_loss
        >>> mask = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
        >>> dice_loss(mask.flip(1), mask, eps=0), dice_loss(mask, mask, eps=0)
        (tensor([1.]), tensor([0.]))
    """
    pred, target = pred.flatten(1), target.flatten(1)
    shared = 2 * (pred * target).sum(dim=1)
    if naive:
        return 1 - (shared + eps) / (pred.sum(dim=1) + target.sum(dim=1) + eps)
    squares = pred.square().sum(dim=1) + target.square().sum(dim=1)
    return 1 - shared / (squares + 2 * eps)


@MODELS.register_module()
class DiceLoss(WeightedLoss):
    """Dice loss of each mask, interchangeable with mmdet's in a config.

    Args:
        use_sigmoid: Must be True.
        activate: The prediction is a logit; if False, a probability.
        reduction: `'none'`, `'mean'` or `'sum'`.
        naive_dice: Sums in place of squares in the denominator.
        loss_weight: What the result is multiplied by.
        eps: Against a division by zero.

    Raises:
        UserError: If `use_sigmoid` is False.

    Example:
        >>> import torch
        >>> from paperzoo.common import DiceLoss
        >>> masks = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        >>> round(DiceLoss()(20 * masks - 10, masks).item(), 4)
        0.001

    Paper: knet "Training Instance Kernels"
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        activate: bool = True,
        reduction: str = 'mean',
        naive_dice: bool = False,
        loss_weight: float = 1.0,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if not use_sigmoid:
            raise UserError(
                'DiceLoss(use_sigmoid=False): only sigmoids are supported; set '
                'use_sigmoid=True, or activate=False and give it probabilities'
            )
        self.activate = activate
        self.naive_dice = naive_dice
        self.eps = eps

    def elementwise(
        self,
        pred: Float[Tensor, 'masks *pixels'],
        target: Shaped[Tensor, 'masks *pixels'],
    ) -> Float[Tensor, ' masks']:
        """Return the loss of each mask.

        Args:
            pred: Logits, or probabilities without `activate`.
            target: As many masks.
        """
        # Sums over a mask overflow half precision.
        pred = at_least_float32(pred)
        if self.activate:
            pred = pred.sigmoid()
        return dice_loss(pred, target.to(pred.dtype), self.eps, self.naive_dice)
