"""Binary cross entropy on logits."""

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from paperzoo.common.weighted import WeightedLoss
from paperzoo.errors import UserError


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
