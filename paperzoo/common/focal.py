"""The sigmoid focal loss, and the weighting that every loss of paperzoo shares."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.registry import MODELS


def weighted_reduction(
    loss: Tensor,
    weight: Tensor | None = None,
    reduction: str = 'mean',
    avg_factor: Tensor | float | None = None,
) -> Tensor:
    """Weight a loss per element and reduce it, by the conventions of mmdet's losses.

    Args:
        loss: The loss of each element.
        weight: One weight per element; anything that broadcasts against `loss`.
        reduction: `'none'`, `'mean'` or `'sum'`.
        avg_factor: What `'mean'` divides the sum by, not the number of elements.
    """
    if reduction not in ('none', 'mean', 'sum'):
        raise UserError(f"reduction={reduction!r}: use 'none', 'mean' or 'sum'")
    if weight is not None:
        loss = loss * weight
    if reduction == 'none':
        return loss
    if avg_factor is None:
        return loss.mean() if reduction == 'mean' else loss.sum()
    if reduction == 'sum':
        raise UserError(
            "reduction='sum' in a loss whose caller divides by an avg_factor: set "
            "reduction='mean' in that loss of the config"
        )
    # mmdet's guard against a factor of zero; without it the numbers would differ.
    return loss.sum() / (avg_factor + torch.finfo(torch.float32).eps)


class WeightedLoss(nn.Module):
    """A loss with mmdet's calling convention; subclasses give the loss per element.

    Args:
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.
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


def sigmoid_focal_loss(
    logits: Float[Tensor, '*shape'],
    target: Float[Tensor, '*shape'],
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Float[Tensor, '*shape']:
    """Return the cross entropy of each logit, turned down where it is right already.

    Args:
        logits: Scores before the sigmoid.
        target: 1 where the class is present, 0 elsewhere.
        gamma: How strongly easy examples are turned down; 0 turns nothing down.
        alpha: Weight of the positives; the negatives have `1 - alpha`.

    Paper: fcos Eq. 2 (its classification term)
    """
    prob = logits.sigmoid()
    error = prob * (1 - target) + (1 - prob) * target
    balance = alpha * target + (1 - alpha) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return balance * error.pow(gamma) * entropy


@MODELS.register_module()
class FocalLoss(WeightedLoss):
    """Sigmoid focal loss, interchangeable with mmdet's in a config.

    Args:
        use_sigmoid: Must be True; mmdet's heads read it from the config.
        gamma: How strongly easy examples are turned down.
        alpha: Weight of the positives; the negatives have `1 - alpha`.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Paper: fcos Eq. 2 (its classification term)
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float = 0.25,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if not use_sigmoid:
            raise UserError(
                'FocalLoss(use_sigmoid=False): this focal loss is over sigmoids; set '
                'use_sigmoid=True in the config'
            )
        self.use_sigmoid = use_sigmoid
        self.gamma = gamma
        self.alpha = alpha

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each class of each sample.

        Args:
            pred: Logits, (samples, classes).
            target: One label per sample, `classes` meaning none of them; or one number
                per logit.
        """
        if target.dim() < pred.dim():
            # A comparison instead of one_hot: it reads no value back from the device.
            classes = torch.arange(pred.size(-1), device=pred.device)
            target = target.unsqueeze(-1) == classes
        return sigmoid_focal_loss(pred, target.to(pred.dtype), self.gamma, self.alpha)
