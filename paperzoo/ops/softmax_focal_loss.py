"""Softmax focal loss, forward and backward, from the softmax that mmcv computes.

With p the probability of the row's class, m = 1 - p and a = alpha x class weight:

    loss = -a m^gamma log p
    d loss / d log p = -a m^gamma (1 - gamma p log p / m)

and d log p / d logit = [this is the row's class] - softmax. A row whose target is no
class (say the background) has neither loss nor gradient.

Differs: mmcv reads beyond the row for a target above the classes, and its slope is not
a number at p = 1 for gamma <= 1; here p log p / m is -1, its limit.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperzoo.utils.precision import at_least_float32

_TINY = torch.finfo(torch.float32).tiny


def softmax_focal_loss(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Float[Tensor, ' classes'] | None = None,
) -> Float[Tensor, ' rows']:
    """Return the focal loss of each row; it can be differentiated.

    Args:
        logits: One column per class.
        target: The class of each row; a number outside 0..classes-1 means none.
        gamma: How strongly easy rows are left out.
        alpha: Factor of all rows.
        weight: One factor per class, looked up by the target.

    Example:
        >>> import torch
        >>> from paperzoo.ops.softmax_focal_loss import softmax_focal_loss
        >>> softmax_focal_loss(torch.zeros(2, 2), torch.tensor([0, 2]))
        tensor([0.0433, 0.0000])
    """
    weight = logits.new_empty(0) if weight is None else weight
    return _SoftmaxFocalLoss.apply(logits, target, weight, gamma, alpha)


class _SoftmaxFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight: Tensor, *shape: float
    ) -> Tensor:
        softmax = at_least_float32(logits).softmax(1)
        loss = logits.new_empty(len(logits))
        softmax_focal_loss_forward(softmax, target, weight, loss, *shape)
        ctx.save_for_backward(softmax, target, weight)
        ctx.shape = shape
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slope = ctx.saved_tensors[0].new_empty(len(grad))
        grad_logits = grad.new_empty(ctx.saved_tensors[0].shape)
        softmax, target, weight = ctx.saved_tensors
        gamma, alpha = ctx.shape
        softmax_focal_loss_backward(
            softmax, target, weight, slope, grad_logits, gamma, alpha
        )
        return grad_logits * grad[:, None], None, None, None, None


def _of_class(
    softmax: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    alpha: float,
) -> tuple[Float[Tensor, ' rows'], Float[Tensor, ' rows'], Bool[Tensor, 'rows 1']]:
    """Return each row's probability p and factor a, and which rows have a class.

    Args:
        softmax: The probabilities of each row.
        target: The class of each row; a number outside 0..classes-1 means none.
        weight: One factor per class, looked up by the target; empty for none.
        alpha: Factor of all rows.
    """
    is_class = (target >= 0) & (target < softmax.size(1))
    label = torch.where(is_class, target, 0)
    p = softmax.gather(1, label[:, None]).squeeze(1)
    factor = torch.full_like(p, alpha)
    if weight.numel() > 0:
        factor = factor * weight.to(p)[label]
    return p, factor * is_class, is_class[:, None]


def _loss_of_softmax(
    softmax: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    gamma: float,
    alpha: float,
) -> Float[Tensor, ' rows']:
    """Return the loss of each row."""
    p, factor, _ = _of_class(softmax, target, weight, alpha)
    return -factor * (1 - p).pow(gamma) * _log(p)


def _slope_of_log(
    softmax: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    gamma: float,
    alpha: float,
) -> Float[Tensor, ' rows']:
    """Return the derivative of each row's loss by log p."""
    p, factor, _ = _of_class(softmax, target, weight, alpha)
    miss = 1 - p
    ratio = torch.where(miss > 0, p * _log(p) / miss.clamp(min=_TINY), -1.0)
    return -factor * miss.pow(gamma) * (1 - gamma * ratio)


def softmax_focal_loss_forward(
    input: Tensor,  # noqa: A002  (mmcv's name; it holds the softmax)
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the loss of each row."""
    output.copy_(
        _loss_of_softmax(at_least_float32(input), target, weight, gamma, alpha)
    )


def softmax_focal_loss_backward(
    input: Tensor,  # noqa: A002  (mmcv's name; it holds the softmax)
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the slopes by log p into `buff` and by the logits into `grad_input`."""
    softmax = at_least_float32(input)
    slope = _slope_of_log(softmax, target, weight, gamma, alpha)
    classes = torch.arange(softmax.size(1), device=target.device)
    own = (target[:, None] == classes).to(softmax)
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (own - softmax))


def _log(p: Tensor) -> Tensor:
    # As mmcv: a probability that underflowed has the loss of the smallest float32.
    return p.clamp(min=_TINY).log()
