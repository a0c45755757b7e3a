"""What it costs to match a prediction with an object: class, dice and mask cost.

They can also stand in mmdet's `HungarianAssigner`.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.registry import TASK_UTILS
from paperzoo.utils.precision import at_least_float32

# Measured best on CPU, where the probabilities of a chunk stay in the cache; on a GPU
# the number of launches counts, and the chunk only bounds the memory.
CPU_CHUNK = 2048
GPU_CHUNK = 1 << 17


class MaskOverlap(NamedTuple):
    """All that dice cost and mask cost need to know of predictions and objects.

    Attributes:
        product: Scalar product of each prediction with each object.
        pred_sum: Sum of each prediction over its pixels.
        pred_square: Sum of its squares.
        gt_sum: Sum of each object's mask over its pixels.
        gt_square: Sum of its squares.
        pixels: Number of pixels.
    """

    product: Float[Tensor, 'preds objects']
    pred_sum: Float[Tensor, ' preds']
    pred_square: Float[Tensor, ' preds']
    gt_sum: Float[Tensor, ' objects']
    gt_square: Float[Tensor, ' objects']
    pixels: int


def mask_overlap(
    preds: Float[Tensor, 'preds *pixels'],
    masks: Tensor,
    act_mode: str | None = 'sigmoid',
) -> MaskOverlap:
    """Return the overlaps of predictions and objects, in one pass over the pixels.

    Args:
        preds: Predicted masks: logits, or probabilities without `act_mode`.
        masks: Masks of the objects, of as many pixels.
        act_mode: `'sigmoid'`; `'softmax'`, over the predictions; or None.

    Raises:
        UserError: If predictions and objects have different numbers of pixels.

    Example:
        >>> preds = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        >>> mask_overlap(preds, torch.tensor([[1.0, 1.0]]), None).product
        tensor([[1.],
                [1.]])
    """
    if preds.shape[1:].numel() != masks.shape[1:].numel():
        raise UserError(
            f'predicted masks have {tuple(preds.shape[1:])} pixels, masks of objects '
            f'{tuple(masks.shape[1:])}: bring them to one size'
        )
    preds, masks = preds.flatten(1), masks.flatten(1)
    pixels = preds.size(1)
    chunk = CPU_CHUNK if preds.device.type == 'cpu' else GPU_CHUNK
    wide = torch.promote_types(preds.dtype, torch.float32)
    product = preds.new_zeros(len(preds), len(masks), dtype=wide)
    of_preds = preds.new_zeros(2, len(preds), dtype=wide)
    of_masks = preds.new_zeros(2, len(masks), dtype=wide)
    # Half precision changes assignments: the costs of kernels lie close together.
    with torch.autocast(preds.device.type, enabled=False):
        for start in range(0, pixels, chunk):
            pred = preds[:, start : start + chunk].to(wide)
            mask = masks[:, start : start + chunk].to(wide)
            if act_mode == 'sigmoid':
                pred = pred.sigmoid()
            elif act_mode == 'softmax':
                pred = pred.softmax(dim=0)
            product.addmm_(pred, mask.T)
            of_preds[0] += pred.sum(dim=1)
            of_preds[1] += pred.square().sum(dim=1)
            of_masks[0] += mask.sum(dim=1)
            of_masks[1] += mask.square().sum(dim=1)
    return MaskOverlap(
        product, of_preds[0], of_preds[1], of_masks[0], of_masks[1], pixels
    )


def dice_cost(
    overlap: MaskOverlap, eps: float = 1e-3, naive: bool = False
) -> Float[Tensor, 'preds objects']:
    """Return minus the dice coefficient of each prediction with each object.

    Args:
        overlap: Their overlaps.
        eps: As of `paperzoo.common.dice_loss`.
        naive: Sums in place of squares.

    Example:
        >>> overlap = mask_overlap(torch.eye(2), torch.eye(2), None)
        >>> dice_cost(overlap, eps=0.0)
        tensor([[-1., -0.],
                [-0., -1.]])

    Paper: knet "Training Instance Kernels"
    """
    if naive:
        total = overlap.pred_sum[:, None] + overlap.gt_sum
        return -(2 * overlap.product + eps) / (total + eps)
    squares = overlap.pred_square[:, None] + overlap.gt_square
    return -2 * overlap.product / (squares + 2 * eps)


def agreement_cost(overlap: MaskOverlap) -> Float[Tensor, 'preds objects']:
    """Return minus the mean probability of the right answer, over all pixels.

    Args:
        overlap: The overlaps of predictions and objects.

    Example:
        >>> agreement_cost(mask_overlap(torch.eye(2), torch.ones(1, 2), None))
        tensor([[-0.5000],
                [-0.5000]])

    Paper: knet "Training Instance Kernels"
    """
    # <1 - p, 1 - t> = pixels - sum p - sum t + <p, t>: one matrix product does it.
    outside = overlap.pixels - overlap.pred_sum[:, None] - overlap.gt_sum
    return -(2 * overlap.product + outside) / overlap.pixels


def focal_cost(
    logits: Float[Tensor, 'preds classes'],
    labels: Int[Tensor, ' objects'],
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-12,
) -> Float[Tensor, 'preds objects']:
    """Return how the focal loss changes if a prediction is of the object's class.

    Args:
        logits: Class logits.
        labels: Class of each object.
        alpha: Weight of the positives; the negatives have `1 - alpha`.
        gamma: How strongly easy examples are turned down.
        eps: Against the logarithm of zero.

    Example:
        >>> focal_cost(torch.tensor([[9.0, -9.0]]), torch.tensor([0, 1])) < 0
        tensor([[ True, False]])

    Paper: knet "Training Instance Kernels"
    """
    prob = at_least_float32(logits).sigmoid()
    present = -(prob + eps).log() * alpha * (1 - prob).pow(gamma)
    absent = -(1 - prob + eps).log() * (1 - alpha) * prob.pow(gamma)
    return (present - absent)[:, labels]


@TASK_UTILS.register_module()
class FocalLossCost:
    """Class cost, the authors' and mmdet's.

    Args:
        weight: What the cost is multiplied by.
        alpha: Weight of the positives.
        gamma: How strongly easy examples are turned down.
        eps: Against the logarithm of zero.

    Example:
        >>> preds = InstanceData(scores=torch.tensor([[0.0, 0.0]]))
        >>> FocalLossCost(2.0)(preds, InstanceData(labels=torch.tensor([1])))
        tensor([[-0.1733]])

    Paper: knet "Training Instance Kernels"
    """

    def __init__(
        self,
        weight: float = 1.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        eps: float = 1e-12,
    ) -> None:
        self.weight = weight
        self.alpha = alpha
        self.gamma = gamma
        self.eps = eps

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Return the weighted cost, (predictions, objects).

        Args:
            pred_instances: With class logits `scores`.
            gt_instances: With `labels`.
        """
        scores, labels = pred_instances.scores, gt_instances.labels
        cost = focal_cost(scores, labels, self.alpha, self.gamma, self.eps)
        return cost * self.weight


class MaskOverlapCost:
    """A cost that is a function of the overlap of masks.

    Args:
        weight: What the cost is multiplied by.
        pred_act: Predictions are logits.
        act_mode: `'sigmoid'`, or `'softmax'` over the predictions.

    Raises:
        UserError: If the activation is unknown.
    """

    def __init__(
        self, weight: float = 1.0, pred_act: bool = True, act_mode: str = 'sigmoid'
    ) -> None:
        if act_mode not in ('sigmoid', 'softmax'):
            raise UserError(
                f"{type(self).__name__}(act_mode={act_mode!r}): use 'sigmoid' or "
                "'softmax' in the assigner's costs"
            )
        self.weight = weight
        self.act_mode = act_mode if pred_act else None

    def from_overlap(self, overlap: MaskOverlap) -> Tensor:
        """Return the unweighted cost, (predictions, objects).

        Args:
            overlap: The overlaps of predictions and objects.
        """
        raise NotImplementedError

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Return the weighted cost, (predictions, objects).

        Args:
            pred_instances: With `masks`.
            gt_instances: With `masks` of as many pixels.
        """
        overlap = mask_overlap(pred_instances.masks, gt_instances.masks, self.act_mode)
        return self.from_overlap(overlap) * self.weight


@TASK_UTILS.register_module()
class DiceCost(MaskOverlapCost):
    """Dice cost; squared, as the authors', where mmdet's default is the naive form.

    Args:
        weight: What the cost is multiplied by.
        pred_act: Predictions are logits.
        act_mode: `'sigmoid'`, or `'softmax'` over the predictions.
        eps: Against a division by zero.
        naive_dice: Sums in place of squares in the denominator.

    Raises:
        UserError: If the activation is unknown.

    Example:
        >>> masks = InstanceData(masks=torch.eye(2))
        >>> DiceCost(4.0, pred_act=False)(masks, masks).round(decimals=2)
        tensor([[-4., -0.],
                [-0., -4.]])

    Paper: knet "Training Instance Kernels"
    """

    def __init__(
        self,
        weight: float = 1.0,
        pred_act: bool = True,
        act_mode: str = 'sigmoid',
        eps: float = 1e-3,
        naive_dice: bool = False,
    ) -> None:
        super().__init__(weight, pred_act, act_mode)
        self.eps = eps
        self.naive_dice = naive_dice

    def from_overlap(self, overlap: MaskOverlap) -> Tensor:
        """Return the unweighted cost, (predictions, objects).

        Args:
            overlap: The overlaps of predictions and objects.
        """
        return dice_cost(overlap, self.eps, self.naive_dice)


@TASK_UTILS.register_module()
class MaskCost(MaskOverlapCost):
    """How far prediction and object agree, over all pixels.

    Args:
        weight: What the cost is multiplied by.
        pred_act: Predictions are logits.
        act_mode: `'sigmoid'`, or `'softmax'` over the predictions.

    Raises:
        UserError: If the activation is unknown.

    Example:
        >>> masks = InstanceData(masks=torch.eye(2))
        >>> MaskCost(pred_act=False)(masks, masks)
        tensor([[-1., -0.],
                [-0., -1.]])

    Paper: knet "Training Instance Kernels"
    """

    def from_overlap(self, overlap: MaskOverlap) -> Tensor:
        """Return the unweighted cost, (predictions, objects).

        Args:
            overlap: The overlaps of predictions and objects.
        """
        return agreement_cost(overlap)
