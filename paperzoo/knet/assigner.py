"""Which kernel learns which object: bipartite matching by masks and classes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.knet.match_costs import (
    DiceCost,
    FocalLossCost,
    MaskCost,
    MaskOverlap,
    MaskOverlapCost,
    mask_overlap,
)
from paperzoo.registry import TASK_UTILS
from paperzoo.utils.precision import at_least_float32

Config = dict[str, Any]

CLS_COST: Config = {'type': FocalLossCost, 'weight': 2.0}
MASK_COST: Config = {'type': MaskCost, 'weight': 1.0}
DICE_COST: Config = {'type': DiceCost, 'weight': 4.0}


class Matching(NamedTuple):
    """One assignment to make.

    Attributes:
        assigner: Who makes it.
        pred_instances: Predictions, with mask logits `masks` and perhaps `scores`.
        gt_instances: Objects, with `masks` and `labels`.
        place: Where it is made, for error messages.
    """

    assigner: 'MaskHungarianAssigner'
    pred_instances: InstanceData
    gt_instances: InstanceData
    place: str = ''


class Assignment(NamedTuple):
    """One assignment that was made.

    Attributes:
        gt_inds: The object of each prediction: 0 for none, k for object k - 1.
        cost: What each pair costs, (predictions, objects), on the host.
        terms: The weighted costs that it is the sum of, by name.
        matching: What was to be made.
    """

    gt_inds: Tensor
    cost: Tensor
    terms: dict[str, Tensor]
    matching: Matching


@TASK_UTILS.register_module()
class MaskHungarianAssigner:
    """Give each object one kernel, so that the sum of the costs is smallest.

    It has the interface of mmdet's `HungarianAssigner`, and mmdet's models take it in
    place of that one. K-Net asks for `terms` and `solve`, to wait for the device once
    in a step: a subclass changes these, not `assign`.
    Costs are computed in single precision under any autocast. Our `DiceCost` and
    `MaskCost` share one pass over the masks; other costs are computed by themselves.

    Args:
        cls_cost: Match cost of the classes; not used where predictions have no
            `scores`. None for none.
        mask_cost: Match cost of the masks, per pixel; None for none.
        dice_cost: Match cost of the masks, per mask; None for none.
        boundary_cost: A further match cost.
        topk: How many kernels each object gets, in as many rounds of matching.
        num_points: Compare masks (masks, height, width) at so many random points
            instead of all pixels; 0 for all pixels, and for masks that are points
            already, as Mask2Former's. A pixel that is NaN passes unseen unless a
            point falls beside it.

    Raises:
        UserError: If `topk` is less than 1, or `num_points` less than 0.

    Example:
        >>> preds = InstanceData(masks=torch.tensor([[[-9.0, -9.0]], [[9.0, -9.0]]]))
        >>> masks, labels = torch.tensor([[[1.0, 0.0]]]), torch.tensor([2])
        >>> gt = InstanceData(masks=masks, labels=labels)
        >>> MaskHungarianAssigner().assign(preds, gt).gt_inds
        tensor([0, 1])

    Paper: knet "Training Instance Kernels"
    Differs: with `topk` a kernel keeps the object of its first round; the authors'
        gets another one when kernels run out.
    """

    def __init__(
        self,
        cls_cost: Config | None = CLS_COST,
        mask_cost: Config | None = MASK_COST,
        dice_cost: Config | None = DICE_COST,
        boundary_cost: Config | None = None,
        topk: int = 1,
        *,
        num_points: int = 0,
    ) -> None:
        if topk < 1 or num_points < 0:
            raise UserError(
                f'MaskHungarianAssigner(topk={topk}, num_points={num_points}): topk '
                'must be at least 1, num_points at least 0'
            )
        configs = {
            'cls_cost': cls_cost,
            'mask_cost': mask_cost,
            'dice_cost': dice_cost,
            'boundary_cost': boundary_cost,
        }
        self.costs = {
            name: TASK_UTILS.build(config)
            for name, config in configs.items()
            if config is not None and config.get('weight', 1.0) != 0
        }
        self.topk = topk
        self.num_points = num_points

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict[str, Any] | None = None,
        **_: Any,
    ) -> AssignResult:
        """Return which object each prediction of one image learns.

        Args:
            pred_instances: With mask logits `masks` and perhaps class logits `scores`.
            gt_instances: With `masks` of the same size, and `labels`.
            img_meta: Names the image in error messages.

        Returns:
            `gt_inds`: 0 for none, k for object k - 1; `labels`: its class or -1.

        Raises:
            UserError: If a cost is NaN or infinite, or masks do not fit each other.
        """
        place = str((img_meta or {}).get('img_path', ''))
        matching = Matching(self, pred_instances, gt_instances, place)
        gt_inds = match_all([matching])[0].gt_inds
        labels = gt_instances.labels
        labels = torch.cat([labels.new_full((1,), -1), labels])[gt_inds]
        return AssignResult(len(gt_instances), gt_inds, None, labels=labels)

    @torch.no_grad()
    def terms(
        self, pred_instances: InstanceData, gt_instances: InstanceData
    ) -> dict[str, Tensor]:
        """Return each weighted cost, (predictions, objects).

        Args:
            pred_instances: As of `assign`.
            gt_instances: As of `assign`.

        Raises:
            UserError: If masks have no height and width, with `num_points`; or differ
                in the number of their pixels.
        """
        if self.num_points:
            pred_instances, gt_instances = self._sampled(pred_instances, gt_instances)
        overlaps: dict[str | None, MaskOverlap] = {}
        terms = {}
        for name, cost in self.costs.items():
            if name == 'cls_cost' and 'scores' not in pred_instances:
                continue
            if not isinstance(cost, MaskOverlapCost):
                whole = {key: at_least_float32(v) for key, v in pred_instances.items()}
                with torch.autocast(pred_instances.masks.device.type, enabled=False):
                    terms[name] = cost(InstanceData(**whole), gt_instances)
                continue
            mode = cost.act_mode
            if mode not in overlaps:
                overlaps[mode] = mask_overlap(
                    pred_instances.masks, gt_instances.masks, mode
                )
            terms[name] = cost.from_overlap(overlaps[mode]) * cost.weight
        return terms

    def solve(self, cost: np.ndarray) -> np.ndarray:
        """Return which object each prediction learns: 0 for none, k for object k - 1.

        Args:
            cost: Finite costs, (predictions, objects).
        """
        from scipy.optimize import linear_sum_assignment  # slow, for training only

        gt_inds = np.zeros(len(cost), dtype=np.int64)
        for _ in range(self.topk):
            free = np.flatnonzero(gt_inds == 0)
            rows, columns = linear_sum_assignment(cost[free])
            gt_inds[free[rows]] = columns + 1
        return gt_inds

    def _sampled(
        self, preds: InstanceData, gt: InstanceData
    ) -> tuple[InstanceData, InstanceData]:
        """Return predictions and objects with their masks at random points."""
        masks = preds.masks
        if masks.dim() != 3 or gt.masks.dim() != 3:
            raise UserError(
                f'MaskHungarianAssigner(num_points={self.num_points}) got masks of '
                f'{tuple(masks.shape)}, not (masks, height, width): where the head '
                'samples points itself, as Mask2Former does, leave num_points at 0'
            )
        at = torch.rand(1, 1, self.num_points, 2, device=masks.device) * 2 - 1
        sampled = []
        for data in (preds, gt):
            points = F.grid_sample(
                data.masks[None].to(at.dtype), at, align_corners=False
            )
            rest = {key: value for key, value in data.items() if key != 'masks'}
            sampled.append(InstanceData(masks=points[0, :, 0], **rest))
        return sampled[0], sampled[1]


def build_assigner(config: Config | None) -> MaskHungarianAssigner:
    """Return the assigner of kernels.

    Args:
        config: Its config; None for the default.

    Raises:
        UserError: If it is none whose `terms` and `solve` say all of what it does.

    Example:
        >>> build_assigner({'topk': 2}).topk
        2
    """
    given = {'type': MaskHungarianAssigner, **(config or {})}
    assigner = TASK_UTILS.build(given)
    if getattr(type(assigner), 'assign', None) is not MaskHungarianAssigner.assign:
        raise UserError(
            f'assigner of K-Net: {type(assigner).__name__} has an `assign` of its own, '
            'which K-Net does not call: use paperzoo.MaskHungarianAssigner, or a '
            'subclass with its own `terms` or `solve`'
        )
    return assigner


def match_all(matchings: Sequence[Matching]) -> list[Assignment]:
    """Make assignments, all costs crossing from the device to the host in one piece.

    Args:
        matchings: The assignments to make.

    Returns:
        One for each matching, `gt_inds` on the device of the predictions.

    Raises:
        UserError: If a cost is NaN or infinite.

    Example:
        >>> masks = torch.tensor([[[9.0, -9.0]], [[-9.0, 9.0]]])
        >>> preds = InstanceData(masks=masks)
        >>> gt = InstanceData(masks=(masks[1:] > 0).float(), labels=torch.tensor([0]))
        >>> match_all([Matching(MaskHungarianAssigner(), preds, gt)])[0].gt_inds
        tensor([0, 1])
    """
    if not matchings:
        return []
    costs, terms = [], []
    for assigner, preds, gt, _ in matchings:
        terms.append(assigner.terms(preds, gt) if len(gt) else {})
        nothing = preds.masks.new_zeros(len(preds), len(gt), dtype=torch.float32)
        costs.append(sum(terms[-1].values(), nothing))
    together = torch.cat([cost.flatten() for cost in costs]).cpu()
    pieces = together.split([cost.numel() for cost in costs])
    on_host = [piece.view_as(cost) for piece, cost in zip(pieces, costs, strict=True)]
    solved = []
    for matching, cost, parts in zip(matchings, on_host, terms, strict=True):
        if not cost.isfinite().all():
            raise UserError(_explain(parts, cost.numpy(), matching.place))
        solved.append(torch.from_numpy(matching.assigner.solve(cost.numpy())))
    together = torch.cat(solved).to(costs[0].device, non_blocking=True)
    gt_inds = together.split([len(inds) for inds in solved])
    return [
        Assignment(*parts)
        for parts in zip(gt_inds, on_host, terms, matchings, strict=True)
    ]


def _explain(terms: dict[str, Tensor], cost: np.ndarray, place: str) -> str:
    """Return what is wrong with a cost that is not finite."""
    bad = [name for name, term in terms.items() if not term.isfinite().all()]
    row, column = np.argwhere(~np.isfinite(cost))[0]
    return (
        f'matching cost of kernel {row} and object {column} is {cost[row, column]} '
        f'({", ".join(bad) or "their sum"}; {place or "place unknown"}). The '
        'predictions have diverged, or a mask is broken: lower lr, lengthen the '
        'warm-up, or train without AMP (optim_wrapper of the config)'
    )
