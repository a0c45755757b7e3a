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

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops.widen import wide

# Logits of one block on a CPU: the passes over them stay in the cache.
_BLOCK = 2**17
# No exponential overflows below this, and from 40 on log(1 + exp(x)) is x.
_HIGHEST = 80.0


def softplus_and_sigmoid(
    x: Float[Tensor, '*n'],
) -> tuple[Float[Tensor, '*n'], Float[Tensor, '*n'], Float[Tensor, '*n']]:
    """Return log(1 + exp(x)), sigmoid(x) and 1 + exp(x) from one exponential."""
    power = x.clamp(max=_HIGHEST).exp_()
    softplus = power.log1p()
    torch.maximum(softplus, x, out=softplus)
    whole = 1 + power
    return softplus, power.div_(whole), whole


def wrong_side_loss(x: Float[Tensor, '*n'], gamma: float) -> Float[Tensor, '*n']:
    """Return the loss, without its factor, of a logit that should be low."""
    loss, p, _ = softplus_and_sigmoid(x)
    return loss if gamma == 0 else loss.mul_(_power(p, gamma))


def wrong_side_slope(x: Float[Tensor, '*n'], gamma: float) -> Float[Tensor, '*n']:
    """Return the derivative of `wrong_side_loss`."""
    loss, p, whole = softplus_and_sigmoid(x)
    if gamma == 0:
        return p
    # 1 - p is 1 / (1 + exp(x)).
    return torch.addcdiv(p, loss, whole, value=gamma).mul_(_power(p, gamma))


def _power(p: Tensor, gamma: float) -> Tensor:
    return p * p if gamma == 2 else p.pow(gamma)


def focal_loss(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    gamma: float,
    alpha: float,
) -> Float[Tensor, 'rows classes']:
    """Return the focal loss of each logit.

    Args:
        logits: One column per class.
        target: The class of each row; a number outside 0..classes-1 means none.
        weight: One factor per class, looked up by the target; empty for none.
        gamma: How strongly easy logits are left out.
        alpha: Weight of the positive side; the negative side has 1 - alpha.
    """
    loss = torch.empty_like(logits)
    sigmoid_focal_loss_forward(logits, target, weight, loss, gamma, alpha)
    return loss


def sigmoid_focal_loss_forward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the focal loss of each logit into `output`."""
    _write(wrong_side_loss, alpha, input, target, weight, output, gamma, alpha)


def sigmoid_focal_loss_backward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of each logit's focal loss into `grad_input`."""
    _write(wrong_side_slope, -alpha, input, target, weight, grad_input, gamma, alpha)


def _write(
    function: Callable[[Tensor, float], Tensor],
    right_factor: float,
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write a function of wrong logits, for the right one of a row of its mirror."""
    rows, classes = logits.shape
    if logits.numel() == 0:
        return
    is_class = ((target >= 0) & (target < classes))[:, None]
    column = target.clamp(0, classes - 1)[:, None]
    step = max(1, _BLOCK // classes) if logits.device.type == 'cpu' else rows
    factor = None
    if weight.numel() > 0:
        factor = torch.where(is_class, wide(weight)[column], 1.0)
    for first in range(0, rows, step):
        block = slice(first, first + step)
        values = function(wide(logits[block]), gamma)
        if factor is not None:
            values.mul_(factor[block])
        torch.mul(values, 1 - alpha, out=output[block])
    right = function(-wide(logits.gather(1, column)), gamma).mul_(right_factor)
    right = right if factor is None else right.mul_(factor)
    kept = output.gather(1, column)
    output.scatter_(1, column, torch.where(is_class, right.to(output), kept))
