"""The sigmoid focal loss."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from paperzoo.common.losses import (
    WeightedLoss,
    average,
    check_reduction,
    fitting_weight,
    weighted_reduction,
)
from paperzoo.errors import UserError
from paperzoo.ops.focal_loss import focal_of_absent
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32

# Rows that stay in the processor's cache from the first operation to the last.
_CHUNK = 2048


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

    Example:
        >>> import torch
        >>> from paperzoo.common import sigmoid_focal_loss
        >>> sigmoid_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
        tensor([0.0433, 0.1300])

    Paper: fcos Eq. 2 (its classification term)
    """
    prob = logits.sigmoid()
    error = prob * (1 - target) + (1 - prob) * target
    balance = alpha * target + (1 - alpha) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return balance * error.pow(gamma) * entropy


def one_hot(
    labels: Int[Tensor, '*samples'], like: Float[Tensor, '*samples classes']
) -> Float[Tensor, '*samples classes']:
    """Return 1 at the label of each sample, 0 elsewhere, shaped and typed like `like`.

    Unlike torch's it reads no value back from the device, and labels that are no class
    give a row of zeros.

    Args:
        labels: Numbers of the classes.
        like: Says how many classes there are, and of which type the result is.

    Example:
        >>> import torch
        >>> from paperzoo.common.focal import one_hot
        >>> one_hot(torch.tensor([1, 3]), torch.rand(2, 3))
        tensor([[0., 1., 0.],
                [0., 0., 0.]])
    """
    classes = torch.arange(like.size(-1), device=like.device)
    return (labels.unsqueeze(-1) == classes).to(like.dtype)


def _at_label(
    logits: Tensor, labels: Tensor, gamma: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one column of each row, the loss there and its derivative, (rows, 1).

    It is the column of the row's class, the only one that may be present; in a row of
    no class it is any column, and absent like the others.
    """
    column = labels.clamp(0, logits.size(1) - 1).unsqueeze(1)
    present = labels.unsqueeze(1) == column
    there = at_least_float32(logits.gather(1, column))
    low, low_slope = focal_of_absent(there, gamma, 1 - alpha)
    high, high_slope = focal_of_absent(-there, gamma, alpha)
    loss = torch.where(present, high, low)
    return column, loss, torch.where(present, -high_slope, low_slope)


class _FocalSum(torch.autograd.Function):
    """The sum of the focal losses; the gradient is computed along the way."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        gamma: float,
        alpha: float,
    ) -> Tensor:
        # Half precision loses small losses in the sum.
        column, at_label, slope_at_label = _at_label(logits, labels, gamma, alpha)
        grad = at_label.new_empty(logits.shape)
        rows = _CHUNK if logits.device.type == 'cpu' else max(len(logits), 1)
        totals = [grad.new_zeros(())]
        for start in range(0, len(logits), rows):
            part = slice(start, start + rows)
            x = at_least_float32(logits[part])
            loss, slope = focal_of_absent(x, gamma, 1 - alpha, slope=grad[part])
            loss.scatter_(1, column[part], at_label[part])
            slope.scatter_(1, column[part], slope_at_label[part])
            if weight is not None:
                loss = loss * weight[part]
                slope.mul_(weight[part])
            totals.append(loss.sum())
        ctx.save_for_backward(grad, logits, labels, weight)
        ctx.shape = gamma, alpha
        return torch.stack(totals).sum()

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        grad, logits, labels, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # someone wants the gradient of the gradient
            loss = sigmoid_focal_loss(logits, one_hot(labels, logits), *ctx.shape)
            loss = weighted_reduction(loss, weight, 'sum')
            (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
        # Scaled first, for a small slope is zero in half precision.
        return (grad * grad_total).to(logits.dtype), None, None, None, None


def sigmoid_focal_sum(
    logits: Float[Tensor, 'samples classes'],
    labels: Int[Tensor, ' samples'],
    weight: Float[Tensor, 'samples #classes'] | None = None,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Float[Tensor, '']:
    """Return the weighted sum of the focal losses: one pass, for many logits.

    It is the sum of `sigmoid_focal_loss`, without its many arrays of the size of the
    logits.

    Args:
        logits: Scores before the sigmoid.
        labels: The class of each sample; `classes` or more means none of them.
        weight: One weight per sample or per logit; gets no gradient.
        gamma: How strongly easy examples are turned down; 0 turns nothing down.
        alpha: Weight of the positives; the negatives have `1 - alpha`.

    Example:
        >>> import torch
        >>> from paperzoo.common.focal import sigmoid_focal_sum
        >>> sigmoid_focal_sum(torch.zeros(1, 2), torch.tensor([0]))  # one is present
        tensor(0.1733)

    Paper: fcos Eq. 2 (its classification term)
    """
    return _FocalSum.apply(logits, labels, weight, gamma, alpha)


@MODELS.register_module()
class FocalLoss(WeightedLoss):
    """Sigmoid focal loss, interchangeable with mmdet's in a config.

    Args:
        use_sigmoid: Must be True; mmdet's heads read it from the config.
        gamma: How strongly easy examples are turned down.
        alpha: Weight of the positives; the negatives have `1 - alpha`.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Raises:
        UserError: If `use_sigmoid` is False.

    Example:
        >>> import torch
        >>> from paperzoo.common import FocalLoss
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([0, 3])
        >>> FocalLoss()(logits, labels, avg_factor=1)  # 3 is none of the classes
        tensor(0.6931)

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
            pred: Logits, (samples, classes).
            target: One label per sample, `classes` meaning none of them; or one number
                per logit.
            weight: One weight per sample or per logit, these also flattened.
            avg_factor: What `'mean'` divides the sum by.
            reduction_override: Replaces the reduction given to the constructor.
        """
        reduction = reduction_override or self.reduction
        one_pass = (
            reduction in ('mean', 'sum')
            and (pred.dim(), target.dim()) == (2, 1)
            and (weight is None or not weight.requires_grad)
            # Compiled, the equation itself becomes one pass over the logits.
            and not torch.compiler.is_compiling()
        )
        if not one_pass:
            return super().forward(pred, target, weight, avg_factor, reduction)
        check_reduction(reduction, avg_factor)
        weight = fitting_weight(weight, pred)
        total = sigmoid_focal_sum(pred, target, weight, self.gamma, self.alpha)
        if reduction == 'mean' and avg_factor is None:
            return self.loss_weight * (total / max(pred.numel(), 1))
        return self.loss_weight * average(total, avg_factor)

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each class of each sample.

        Args:
            pred: Logits, (samples, classes).
            target: One label per sample, `classes` meaning none of them; or one number
                per logit.
        """
        if target.dim() < pred.dim():
            target = one_hot(target, pred)
        return sigmoid_focal_loss(pred, target.to(pred.dtype), self.gamma, self.alpha)
