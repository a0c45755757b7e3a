"""Which kernel of a K-Net detector got which object, and which pixel, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.knet.assigner import MaskHungarianAssigner, Matching
from paperzoo.knet.explain import KNetView, numbers, stage_views, watched
from paperzoo.knet.ground_truth import hardened
from paperzoo.knet.kernels import full
from paperzoo.knet.panoptic import Sizes, compete, enlarged_blocks, segment_scores

NOBODY = -1


class Pair(NamedTuple):
    """Why a kernel got an object.

    Attributes:
        kernel: The kernel.
        item: The object.
        cost: What the pair costs.
        rival: The cheapest other kernel for the object, `NOBODY` if there is none.
        rival_cost: What it would cost.
        heir: The kernel that gets the object where this pair is forbidden, or
            `NOBODY`.
        extra: How much more all pairs together cost then; infinite if there is no
            other way.
    """

    kernel: int
    item: int
    cost: float
    rival: int
    rival_cost: float
    heir: int
    extra: float


@dataclass(frozen=True)
class MatchView:
    """One assignment of objects to kernels.

    Attributes:
        place: Whom it teaches: `initial kernels` or `stage 0`.
        terms: Each weighted cost by name, (kernels, objects).
        cost: Their sum.
        gt_inds: For each kernel 0 for none, k for object k - 1.
        pairs: The chosen pairs, objects in order.
    """

    place: str
    terms: dict[str, Tensor]
    cost: Tensor
    gt_inds: Tensor
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Contest:
    """How the pixels of an image were divided among the kernels.

    Attributes:
        winner: The kernel with the largest product of score and probability, (height,
            width).
        segments: What the model answers: label + 1000 * number, or `num_classes` for
            nothing, (height, width).
        scores: Score of each kernel.
        labels: Its class.
        area: Pixels of its mask.
        won: Pixels that it won.
        kept: Whether it became a segment.
    """

    winner: Tensor
    segments: Tensor
    scores: Tensor
    labels: Tensor
    area: Tensor
    won: Tensor
    kept: Tensor


@torch.no_grad()
def explain_detector(model: Any, inputs: Tensor, data_sample: Any) -> KNetView:
    """Return what a `KNet` does with one image.

    Args:
        model: The detector, in evaluation mode.
        inputs: The image, (1, channels, height, width), as the model gets it.
        data_sample: What is known of it, perhaps the annotations.
    """
    head = model.kernel_iter_head
    start = model.kernel_init_head(model.extract_feat(inputs))
    with watched(head.stages) as calls:
        outputs = head(start)
    predictions = head.predictions(start, outputs)
    last = head.last(start) if not calls else predictions[-1]
    # Without stages the classes are those of the pixels.
    shown = predictions if calls else [last]
    views = stage_views(
        [(masks[0], None if cls is None else cls[0]) for cls, masks in shown],
        calls,
        'sigmoid',
        (head.num_proposals, model.num_thing_classes),
    )
    contest = None
    if head.do_panoptic:
        contest = _contest(model, inputs, data_sample, last)
    if not _annotated(model, data_sample):
        none = torch.zeros(0, 1, 1)
        return KNetView(views, (), none[:, 0, 0].long(), none, {}, contest)
    matchings = _matchings(model, start, predictions, data_sample)
    truth = matchings[0].gt_instances
    return KNetView(
        views,
        tuple(explain_match(matching) for matching in matchings),
        truth.labels.cpu(),
        full(truth.masks).cpu(),
        numbers(model.loss(inputs, [data_sample])),
        contest,
    )


def _annotated(model: Any, data_sample: Any) -> bool:
    """Return whether a sample has all that the losses need."""
    if model.num_stuff_classes and 'gt_sem_seg' not in data_sample:
        return False
    objects = data_sample.get('gt_instances', {})
    return 'masks' in objects and 'labels' in objects


def _contest(model: Any, inputs: Tensor, data_sample: Any, last: Any) -> Contest:
    """Return how the pixels were divided, at the size of the image."""
    meta, head = data_sample.metainfo, model.kernel_iter_head
    size = (meta['img_shape'][0], meta['img_shape'][1])
    sizes = Sizes((inputs.size(-2), inputs.size(-1)), size, size)
    scores, labels = segment_scores(
        full(last.cls_score[0]).sigmoid(), head.num_proposals, model.num_thing_classes
    )
    merge = (head.test_cfg or {}).get('merge_stuff_thing') or {}
    low = scores < merge.get('instance_score_thr', 0.3)
    barred = low & (labels < model.num_thing_classes) & merge.get('filter_first', False)
    winner, area = compete(scores, barred, enlarged_blocks(last.mask_preds[0], sizes))
    result = model.predict(inputs, [data_sample.clone()], rescale=False)[0]
    segments = result.pred_panoptic_seg.sem_seg[0]
    found = winner[segments != model.num_thing_classes + model.num_stuff_classes]
    won = torch.bincount(winner.flatten(), minlength=len(scores))
    kept = torch.bincount(found, minlength=len(scores)) > 0
    arrays = (winner, segments, scores, labels, area, won, kept)
    return Contest(*(array.cpu() for array in arrays))


def _matchings(
    model: Any, start: Any, predictions: Sequence[Any], data_sample: Any
) -> list[Matching]:
    """Return the assignments that `KNet.loss` makes, in its order."""
    init_head, iter_head = model.kernel_init_head, model.kernel_iter_head
    masks = init_head.upsample(start.mask_preds[:, : init_head.num_proposals])
    truths = [model.ground_truth(data_sample, full(masks))]
    first = hardened(truths) if init_head.hard_target else truths
    later = hardened(truths) if iter_head.hard_target else truths
    objects = InstanceData(masks=first[0].masks, labels=first[0].labels)
    kernels = InstanceData(masks=masks[0])
    matchings = [Matching(model.assigner, kernels, objects, 'initial kernels, image')]
    return matchings + iter_head.matchings(predictions, later, ['image'])


def explain_match(matching: Matching) -> MatchView:
    """Return the costs of an assignment, what was chosen, and why.

    Args:
        matching: The assignment to make.

    Paper: knet "Training Instance Kernels"
    """
    assigner, preds, gt, place = matching
    terms = assigner.terms(preds, gt) if len(gt) else {}
    nothing = preds.masks.new_zeros(len(preds), len(gt), dtype=torch.float32)
    cost = sum(terms.values(), nothing).cpu()
    gt_inds = assigner.solve(cost.numpy())
    return MatchView(
        place.partition(',')[0],
        {name: term.cpu() for name, term in terms.items()},
        cost,
        torch.from_numpy(gt_inds),
        explain_pairs(assigner, cost.double().numpy(), gt_inds),
    )


def explain_pairs(
    assigner: MaskHungarianAssigner, cost: np.ndarray, gt_inds: np.ndarray
) -> tuple[Pair, ...]:
    """Return each chosen pair with the next best and the price of forbidding it.

    Args:
        assigner: Who chose.
        cost: (kernels, objects).
        gt_inds: What was chosen: 0 for none, k for object k - 1.
    """
    pairs = []
    for kernel in np.flatnonzero(gt_inds).tolist():
        item = int(gt_inds[kernel]) - 1
        barred = cost.copy()
        barred[kernel, item] = np.inf
        rival, heir, extra = int(barred[:, item].argmin()), NOBODY, np.inf
        rival_cost = float(barred[rival, item])
        try:
            other = assigner.solve(barred)
        except ValueError:  # Every way needs this pair.
            pass
        else:
            heirs = np.flatnonzero((other == item + 1) & (gt_inds != item + 1))
            heir = int(heirs[0]) if len(heirs) else NOBODY
            extra = _total(cost, other) - _total(cost, gt_inds)
        rival = rival if np.isfinite(rival_cost) else NOBODY
        pair_cost = float(cost[kernel, item])
        pairs.append(
            Pair(kernel, item, pair_cost, rival, rival_cost, heir, float(extra))
        )
    return tuple(sorted(pairs, key=lambda pair: (pair.item, pair.cost)))


def _total(cost: np.ndarray, gt_inds: np.ndarray) -> float:
    """Return what all pairs cost together."""
    rows = np.flatnonzero(gt_inds)
    return float(cost[rows, gt_inds[rows] - 1].sum())
