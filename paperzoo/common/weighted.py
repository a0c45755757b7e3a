"""The weighting that every loss of paperzoo shares."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from paperzoo.errors import UserError


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
        UserError: As of `check_reduction`.

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
        return loss.mean()
    check_reduction(reduction, avg_factor)
    return average(loss.sum(), avg_factor)


def check_reduction(reduction: str, avg_factor: Tensor | float | int | None) -> None:
    """Refuse a reduction that is none, or that would not divide by the factor.

    Args:
        reduction: Should be `'none'`, `'mean'` or `'sum'`.
        avg_factor: None unless the reduction divides by it.

    Raises:
        UserError: If it is none of these, or `'sum'` with a factor.

    Example:
        >>> from paperzoo.common.weighted import check_reduction
        >>> check_reduction('mean', avg_factor=4)
    """
    if reduction not in ('none', 'mean', 'sum'):
        raise UserError(f"reduction={reduction!r}: use 'none', 'mean' or 'sum'")
    if reduction == 'sum' and avg_factor is not None:
        raise UserError(
            "reduction='sum' in a loss whose caller divides by an avg_factor: set "
            "reduction='mean' in that loss of the config"
        )


def average(
    total: Float[Tensor, '*shape'], avg_factor: Tensor | float | int | None
) -> Float[Tensor, '*shape']:
    """Divide a sum by the factor, if there is one.

    Args:
        total: The sum.
        avg_factor: The factor, such as the number of positive samples.

    Example:
        >>> import torch
        >>> from paperzoo.common.weighted import average
        >>> average(torch.tensor(6.0), 3), average(torch.tensor(6.0), None)
        (tensor(2.), tensor(6.))
    """
    if avg_factor is None:
        return total
    # mmdet's guard against a factor of zero; without it the numbers would differ.
    return total / (avg_factor + torch.finfo(torch.float32).eps)


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
            weight: One weight per element, or per row of it.
            avg_factor: What `'mean'` divides the sum by.
            reduction_override: Replaces the reduction given to the constructor.
        """
        loss = self.elementwise(pred, target)
        if weight is not None and weight.dim() < loss.dim():
            weight = weight.unsqueeze(-1)
        reduction = reduction_override or self.reduction
        loss = weighted_reduction(loss, weight, reduction, avg_factor)
        return self.loss_weight * loss
