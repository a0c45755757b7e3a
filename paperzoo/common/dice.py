"""The dice loss: one minus the overlap of two masks."""

from jaxtyping import Float, Shaped
from torch import Tensor

from paperzoo.common.weighted import WeightedLoss
from paperzoo.errors import UserError
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32


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
