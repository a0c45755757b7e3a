"""Sigmoid focal loss, forward and backward.

With z the logit of the true side (x where the target is this class, else -x),
p = sigmoid(z) and a = alpha or 1 - alpha on the same sides:

    loss = -a (1 - p)^gamma log p
    d loss / d z = -a (1 - p)^gamma (1 - p - gamma p log p)

At most one logit of a row has its class for a target. So everything is computed as if
no logit had, and then one number of each row is written anew.

Differs: mmcv clamps p at the smallest float before the logarithm; here the logarithm is
exact for any logit. mmcv reads beyond the class weights where the target is no class
(the background); here such a row has weight 1.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.memory import empty, hand_over
from paperzoo.utils.precision import at_least_float32

# Logits of one block on a CPU: the passes over them stay in the cache.
_BLOCK = 2**17
# From here on log(1 + exp(x)) is x, to the last bit of float64.
_LINEAR = 40


def focal_of_absent(
    logits: Float[Tensor, '*n'],
    gamma: float,
    factor: float,
    loss: Float[Tensor, '*n'] | None = None,
    slope: Float[Tensor, '*n'] | None = None,
) -> tuple[Float[Tensor, '*n'], Float[Tensor, '*n']]:
    """Return the focal loss of logits whose class is absent, and its derivative.

    That of a present class is this one at -x.

    Args:
        logits: x; the loss is `factor sigmoid(x)^gamma log(1 + exp(x))`.
        gamma: How strongly logits that are low already are turned down.
        factor: What everything is multiplied by.
        loss: The loss is written here if given.
        slope: The derivative is written here if given.

    Example:
        >>> import torch
        >>> from paperzoo.ops.focal_loss import focal_of_absent
        >>> focal_of_absent(torch.zeros(1), gamma=2.0, factor=1.0)
        (tensor([0.1733]), tensor([0.2983]))
    """
    prob = logits.sigmoid()
    entropy = F.softplus(logits, threshold=_LINEAR)
    # d p / d x = p (1 - p); the other share is that of the softplus.
    rise = torch.addcmul(prob, 1 - prob, entropy, value=gamma)
    down = (prob.square_() if gamma == 2 else prob.pow_(gamma)).mul_(factor)
    loss = torch.mul(entropy, down, out=entropy if loss is None else loss)
    return loss, torch.mul(rise, down, out=slope)


def sigmoid_focal_loss(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Float[Tensor, ' classes'] | None = None,
) -> Float[Tensor, 'rows classes']:
    """Return the focal loss of each logit; it can be differentiated.

    Args:
        logits: One column per class.
        target: The class of each row; a number outside 0..classes-1 means none.
        gamma: How strongly easy logits are left out.
        alpha: Weight of the positive side; the negative side has 1 - alpha.
        weight: One factor per class, looked up by the target.

    Example:
        >>> import torch
        >>> from paperzoo.ops.focal_loss import sigmoid_focal_loss
        >>> sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([1]))
        tensor([[0.1300, 0.0433]])
    """
    weight = logits.new_empty(0) if weight is None else weight
    return _SigmoidFocalLoss.apply(logits, target, weight, gamma, alpha)


class _SigmoidFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight: Tensor, *shape: float
    ) -> Tensor:
        loss = torch.empty_like(logits)
        sigmoid_focal_loss_forward(logits, target, weight, loss, *shape)
        ctx.save_for_backward(logits, target, weight)
        ctx.shape = shape
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slope = torch.empty_like(grad)
        logits, target, weight = ctx.saved_tensors
        gamma, alpha = ctx.shape
        sigmoid_focal_loss_backward(logits, target, weight, slope, gamma, alpha)
        return slope.mul_(grad), None, None, None, None


def sigmoid_focal_loss_forward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the focal loss of each logit into `output`.

    Where a backward will follow and the classes have no weights, the derivative costs
    little more. It is put into the empty `weight`, which mmcv saves for the backward.
    """
    slope = None
    if input.requires_grad and weight.numel() == 0:
        slope = empty(weight, *input.shape)
    _write((output, slope), input, target, weight, gamma, alpha)
    if slope is not None:
        hand_over(slope, weight)


def sigmoid_focal_loss_backward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of each logit's focal loss into `grad_input`.

    If `weight` has the shape of the logits it is that derivative, from the forward.
    """
    if weight.dim() == input.dim():
        grad_input.copy_(weight)
    else:
        _write((None, grad_input), input, target, weight, gamma, alpha)


def _write(
    outputs: tuple[Tensor | None, Tensor | None],
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the losses and their derivatives, each where it is wanted."""
    rows, classes = logits.shape
    if logits.numel() == 0:
        return
    is_class = ((target >= 0) & (target < classes))[:, None]
    column = target.clamp(0, classes - 1)[:, None]
    step = max(1, _BLOCK // classes) if logits.device.type == 'cpu' else rows
    factor = None
    if weight.numel() > 0:
        factor = torch.where(is_class, at_least_float32(weight)[column], 1.0)
    for first in range(0, rows, step):
        block = slice(first, first + step)
        x = at_least_float32(logits[block])
        into = [
            y[block] if y is not None and y.dtype == x.dtype else None for y in outputs
        ]
        absent = focal_of_absent(x, gamma, 1 - alpha, *into)
        for values, written, output in zip(absent, into, outputs, strict=True):
            if factor is not None:
                values.mul_(factor[block])
            if written is None and output is not None:
                output[block] = values
    loss, slope = focal_of_absent(
        -at_least_float32(logits.gather(1, column)), gamma, alpha
    )
    for values, output in zip((loss, -slope), outputs, strict=True):
        if output is not None:
            right = values if factor is None else values * factor
            wrong = output.gather(1, column)
            output.scatter_(1, column, torch.where(is_class, right.to(wrong), wrong))
