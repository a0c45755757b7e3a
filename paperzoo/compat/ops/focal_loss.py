"""Sigmoid focal loss, forward and backward.

With z the logit of the true side (x where the target is this class, else -x),
p = sigmoid(z) and a = alpha or 1 - alpha on the same sides:

    loss = -a (1 - p)^gamma log p
    d loss / d z = -a (1 - p)^gamma (1 - p - gamma p log p)

Differs: mmcv clamps p at the smallest float before the logarithm; here `logsigmoid` is
exact for any logit. mmcv reads beyond the class weights where the target is no class
(the background); here such a row has weight 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def true_side(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    alpha: float,
) -> tuple[Float[Tensor, 'rows classes'], Float[Tensor, 'rows classes']]:
    """Return the sign of the true side's logit and the factor a, class weight included.

    Args:
        logits: One column per class.
        target: The class of each row; a number outside 0..classes-1 means none.
        weight: One factor per class, looked up by the target; empty for none.
        alpha: Weight of the positive side; the negative side has 1 - alpha.
    """
    classes = logits.size(1)
    positive = target[:, None] == torch.arange(classes, device=target.device)
    sign = torch.where(positive, 1.0, -1.0).to(logits)
    factor = torch.where(positive, alpha, 1 - alpha).to(logits)
    if weight.numel() > 0:
        is_class = (target >= 0) & (target < classes)
        row = weight.to(logits)[target.clamp(0, classes - 1)]
        factor = factor * torch.where(is_class, row, 1.0)[:, None]
    return sign, factor


def focal_loss(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    gamma: float,
    alpha: float,
) -> Float[Tensor, 'rows classes']:
    """Return the focal loss of each logit."""
    sign, factor = true_side(logits, target, weight, alpha)
    z = sign * logits
    return -factor * (-z).sigmoid().pow(gamma) * F.logsigmoid(z)


def focal_loss_slope(
    logits: Float[Tensor, 'rows classes'],
    target: Int[Tensor, ' rows'],
    weight: Float[Tensor, ' classes_or_none'],
    gamma: float,
    alpha: float,
) -> Float[Tensor, 'rows classes']:
    """Return the derivative of each logit's focal loss."""
    sign, factor = true_side(logits, target, weight, alpha)
    z = sign * logits
    miss = (-z).sigmoid()
    slope = miss - gamma * z.sigmoid() * F.logsigmoid(z)
    return -sign * factor * miss.pow(gamma) * slope


def sigmoid_focal_loss_forward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the focal loss of each logit into `output`."""
    output.copy_(focal_loss(_wide(input), target, _wide(weight), gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor,  # noqa: A002  (mmcv's names)
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of each logit's focal loss into `grad_input`."""
    slope = focal_loss_slope(_wide(input), target, _wide(weight), gamma, alpha)
    grad_input.copy_(slope)


def _wide(x: Tensor) -> Tensor:
    # A half's 1 - p is 0 from logit 9 on: too coarse for a loss of rare positives.
    return x.float() if x.dtype in (torch.half, torch.bfloat16) else x
