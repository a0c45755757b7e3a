"""The losses of masks and of kernels that compete for a pixel.

The dice loss and the focal loss are in `paperzoo.common`.
"""

from typing import Any

from jaxtyping import Float, Int
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.common import (
    DiceLoss,
    SigmoidCrossEntropyLoss,
    WeightedLoss,
    weighted_reduction,
)
from paperzoo.errors import UserError
from paperzoo.knet.targets import NOBODY, KernelTargets
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32


@MODELS.register_module()
class MaskBCELoss(SigmoidCrossEntropyLoss):
    """Binary cross entropy between mask logits and a mask that may be soft.

    Args:
        use_sigmoid: Must be True; it is there so that the arguments of mmdet's
            `CrossEntropyLoss` fit.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.

    Raises:
        UserError: If `use_sigmoid` is False.

    Example:
        >>> import torch
        >>> MaskBCELoss()(torch.zeros(1, 4), torch.ones(1, 4))
        tensor(0.6931)

    Paper: knet "Training Instance Kernels"
    """

    WHY_SIGMOID = 'masks may overlap, so each pixel of each mask has its own sigmoid'


def rank_loss(
    mask_logits: Float[Tensor, 'images kernels height width'],
    target: Int[Tensor, 'images height width'],
    ignore_index: int = 255,
) -> Float[Tensor, 'images height width']:
    """Return for each pixel the cross entropy of the kernel that should win it.

    Args:
        mask_logits: The masks of all kernels.
        target: Number of the kernel that should have the highest logit.
        ignore_index: Where `target` has this value the loss is 0.

    Example:
        >>> import torch
        >>> rank_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[1, 255]]]))
        tensor([[[0.6931, 0.0000]]])

    Paper: knet "Training Instance Kernels"
    Differs: the paper does not mention this loss; the authors' panoptic configs use
        it.
    """
    return F.cross_entropy(
        at_least_float32(mask_logits),
        target,
        reduction='none',
        ignore_index=ignore_index,
    )


@MODELS.register_module()
class RankLoss(WeightedLoss):
    """Lets kernels compete for pixels: a softmax over kernels at each pixel.

    The mean is over all pixels, ignored ones included, as with the authors.

    Args:
        use_sigmoid: Must be False; it is there so that the arguments of mmdet's
            `CrossEntropyLoss` fit.
        reduction: `'none'`, `'mean'` or `'sum'`.
        loss_weight: What the result is multiplied by.
        ignore_index: Target of the pixels that no kernel should win.

    Raises:
        UserError: If `use_sigmoid` is True.

    Example:
        >>> import torch
        >>> RankLoss()(torch.zeros(1, 3, 2, 2), torch.ones(1, 2, 2, dtype=torch.long))
        tensor(1.0986)

    Paper: knet "Training Instance Kernels"
    Differs: as of `rank_loss`.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if use_sigmoid:
            raise UserError(
                'RankLoss(use_sigmoid=True): kernels compete by a softmax over them; '
                'set use_sigmoid=False in loss_rank'
            )
        self.ignore_index = ignore_index

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
    ) -> Tensor:
        """Return the weighted loss, reduced.

        Args:
            pred: Mask logits, (images, kernels, height, width).
            target: Number of a kernel, (images, height, width).
            weight: One weight per pixel.
            avg_factor: What `'mean'` divides the sum by.
            reduction_override: Replaces the reduction given to the constructor.
            ignore_index: Replaces the one given to the constructor.
        """
        if ignore_index is None:
            ignore_index = self.ignore_index
        loss = rank_loss(pred, target, ignore_index)
        reduction = reduction_override or self.reduction
        return self.loss_weight * weighted_reduction(
            loss, weight, reduction, avg_factor
        )


# Classes as types: a bare name is another class under another default scope.
LOSS_MASK: dict[str, Any] = {'type': MaskBCELoss, 'loss_weight': 1.0}
LOSS_DICE: dict[str, Any] = {'type': DiceLoss, 'loss_weight': 4.0}


def build_losses(**configs: dict[str, Any] | None) -> nn.ModuleDict:
    """Return the losses that have a config, by name.

    Args:
        configs: Arguments of each loss; None for none.

    Example:
        >>> list(build_losses(loss_mask=LOSS_MASK, loss_rank=None))
        ['loss_mask']
    """
    return nn.ModuleDict(
        {name: MODELS.build(config) for name, config in configs.items() if config}
    )


def kernel_losses(
    losses: nn.ModuleDict,
    mask_preds: Float[Tensor, 'images kernels _ _'],
    targets: KernelTargets,
    cls_score: Float[Tensor, 'images kernels classes'] | None = None,
) -> dict[str, Tensor]:
    """Return the losses of the kernels of one stage, or of the initial ones.

    Args:
        losses: `loss_mask`, per pixel; `loss_dice`, per mask; perhaps `loss_rank`, of
            all kernels at each pixel; and, for classes, `loss_cls`.
        mask_preds: Mask logits, of the size of the targets' masks.
        targets: What the kernels learn.
        cls_score: Class logits; None where kernels have no classes.

    Returns:
        The losses by name, and with classes `pos_acc`, their accuracy in percent.

    Raises:
        UserError: If `mask_preds` and the masks of `targets` differ in size.

    Example:
        >>> losses = build_losses(loss_mask=LOSS_MASK, loss_dice=LOSS_DICE)
        >>> import torch
        >>> ones = torch.ones(1, 2, 4, 4)  # two kernels, both with a mask to learn
        >>> labels = torch.zeros(1, 2, dtype=torch.long)
        >>> targets = KernelTargets(labels, labels[..., None], ones, labels == 0)
        >>> found = kernel_losses(losses, 9 * ones, targets)
        >>> sorted(found), float(sum(found.values())) < 0.001
        (['loss_dice', 'loss_mask'], True)

    Paper: knet "Training Instance Kernels"
    """
    if mask_preds.shape != targets.masks.shape:
        raise UserError(
            f'predicted masks are (images, kernels, height, width) = '
            f'{tuple(mask_preds.shape)}, their targets {tuple(targets.masks.shape)}: '
            'pad images to a multiple of 32 (pad_size_divisor of the data '
            'preprocessor), and set mask_assign_stride of KNet to the stride of the '
            'upsampled predictions'
        )
    found = {}
    if cls_score is not None:
        found = _class_losses(losses['loss_cls'], cls_score, targets)
    pred = mask_preds.flatten(2).flatten(0, 1)
    target = targets.masks.flatten(2).flatten(0, 1)
    # Half precision ends at 65504, far below the pixels of all masks.
    weight = at_least_float32(targets.positive.flatten().to(pred.dtype))
    # A mean over the masks there are: one path for none and for a thousand.
    positives = weight.sum().clamp(min=1.0)
    per_pixel, pixels = weight[:, None].expand_as(pred), positives * pred.size(1)
    found['loss_mask'] = losses['loss_mask'](
        pred, target, weight=per_pixel, avg_factor=pixels
    )
    found['loss_dice'] = losses['loss_dice'](
        pred, target, weight=weight, avg_factor=positives
    )
    if targets.winners is not None:
        found['loss_rank'] = losses['loss_rank'](
            mask_preds, targets.winners, ignore_index=NOBODY
        )
    return found


def _class_losses(
    loss_cls: nn.Module, cls_score: Tensor, targets: KernelTargets
) -> dict[str, Tensor]:
    """Return the loss of the classes, and their accuracy in percent."""
    positive = targets.positive.flatten()
    scores, labels = cls_score.flatten(0, 1), targets.labels.flatten()
    num_pos = positive.sum().to(at_least_float32(scores))
    correct = (scores.argmax(dim=1) == labels) & positive
    accuracy = 100 * correct.sum() / num_pos.clamp(min=1.0)
    # Over all devices, so that each object counts alike.
    all_reduce(num_pos, 'mean')
    # Unmatched kernels still get a class loss: they must learn "no object".
    loss = loss_cls(
        scores,
        labels,
        targets.label_weights.flatten(0, 1),
        avg_factor=num_pos.clamp(min=1.0),
    )
    return {'loss_cls': loss, 'pos_acc': accuracy}
