"""What K-Net's kernels did with one image, as arrays.

Stages are looked into by hooks that are gone afterwards: whoever does not ask pays
nothing, and gets the same numbers. `paperzoo.explain.knet.page` draws the arrays.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from paperzoo.knet.assigner import MaskHungarianAssigner, Matching
from paperzoo.knet.kernels import KernelUpdater, group_pixels
from paperzoo.knet.panoptic import Sizes, compete, enlarged_blocks, segment_scores
from paperzoo.knet.targets import hardened
from paperzoo.utils.precision import at_least_float32

if TYPE_CHECKING:
    pass

NOBODY = -1


@dataclass(frozen=True)
class StageView:
    """The kernels of one image after a stage, or as they begin.

    Attributes:
        mask_logits: At the size of losses and results, (kernels, height, width).
        mask_probs: What they mean: a share of each pixel for semantic segmentation.
        cls_score: Class logits, (kernels, classes); None without classes.
        scores: Score of each kernel as the result counts it; None without classes.
        labels: Its class.
        attention: Whom each kernel attended to, (heads, kernels, kernels), rows of
            sum 1; None for the initial kernels, as are the gates.
        feature_gate: How much of its group's feature each kernel took, (kernels,
            channels).
        kernel_gate: How much it kept of what it was, (kernels, channels).
    """

    mask_logits: Tensor
    mask_probs: Tensor
    cls_score: Tensor | None = None
    scores: Tensor | None = None
    labels: Tensor | None = None
    attention: Tensor | None = None
    feature_gate: Tensor | None = None
    kernel_gate: Tensor | None = None


@dataclass(frozen=True)
class KNetView:
    """One image.

    Attributes:
        stages: The initial kernels, then those after each stage.
        matches: The assignments in the order in which training makes them; none
            without annotations.
        labels: Class of each annotated object.
        objects: Mask of each object, as the matching sees it, (objects, height,
            width).
        losses: As training reports them; empty without annotations.
        contest: Who won which pixel, for panoptic segmentation.
    """

    stages: tuple[StageView, ...]
    matches: tuple['MatchView', ...]
    labels: Tensor
    objects: Tensor
    losses: dict[str, float]
    contest: 'Contest | None' = None


@contextmanager
def watched(stages: Iterable[Any]) -> Iterator[list[dict[str, Any]]]:
    """Note what the update heads compute while the context lasts.

    Args:
        stages: `KNetKernelUpdateHead`s; one may stand for several stages.

    Yields:
        A list that gets a dict for each call of a stage: `stage`, `masks` (of the
        stage before), `kernels` (that attend to each other), `output`, and, of our
        `KernelUpdater`, `feature_gate` and `kernel_gate`.
    """
    calls: list[dict[str, Any]] = []
    hooks = []

    def begin(module: nn.Module, args: Any) -> None:
        calls.append({'stage': module, 'masks': args[2]})

    def end(module: nn.Module, args: Any, output: Any) -> None:
        calls[-1]['output'] = output

    def attend(module: nn.Module, args: Any) -> None:
        calls[-1]['kernels'] = args[0]

    def note(name: str, sigmoid: bool) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            calls[-1][name] = output.sigmoid() if sigmoid else output

        return hook

    for stage in dict.fromkeys(stages):
        hooks.append(stage.register_forward_pre_hook(begin))
        hooks.append(stage.register_forward_hook(end))
        hooks.append(stage.attention.register_forward_pre_hook(attend))
        updater = stage.kernel_updater
        if not isinstance(updater, KernelUpdater):
            continue
        for name in ('feature_gate', 'kernel_gate'):
            layer = getattr(updater, f'{name}_norm')
            hook = note(name, updater.gate_sigmoid)
            hooks.append(layer.register_forward_hook(hook))
    try:
        yield calls
    finally:
        for handle in hooks:
            handle.remove()


@torch.no_grad()
def explain_semantic(model: Any, inputs: Tensor, data_sample: Any) -> KNetView:
    """Return what a segmentor with a `KNetSemanticHead` does with one image.

    Args:
        model: mmseg's segmentor, in evaluation mode.
        inputs: The image, (1, channels, height, width), as the model gets it.
        data_sample: With `gt_sem_seg` of the size of `inputs`, if it is known.
    """
    head = model.decode_head
    with watched(head.kernel_update_head) as calls:
        logits = head(model.extract_feat(inputs))
    first = calls[0]['masks'] if calls else logits
    masks = [first, *(call['output'].mask_preds for call in calls)]
    grouping = 'softmax' if first.size(1) > 1 else 'sigmoid'
    views = stage_views([(each[0], None) for each in masks], calls, grouping)
    losses = {}
    if 'gt_sem_seg' in data_sample:
        truth = data_sample.gt_sem_seg.data
        if truth.shape[-2:] == inputs.shape[-2:]:
            losses = numbers(head.loss_by_feat(masks, [data_sample]))
    none = inputs.new_zeros(0, 1, 1)
    return KNetView(views, (), none[:, 0, 0].long(), none, losses)


def stage_views(
    predicted: Sequence[tuple[Tensor, Tensor | None]],
    calls: Sequence[dict[str, Any]],
    grouping: str,
    things: tuple[int, int] = (0, 0),
) -> tuple[StageView, ...]:
    """Return a view of the initial kernels and of each stage that was called.

    Args:
        predicted: Masks and perhaps classes: of the initial kernels, of each stage.
        calls: Of `watched`.
        grouping: How masks become probabilities, as of `group_pixels`.
        things: Numbers of thing kernels and of thing classes.
    """
    views = []
    for number, (masks, cls_score) in enumerate(predicted):
        looked: dict[str, Tensor] = {}
        if cls_score is not None:
            looked['cls_score'] = at_least_float32(cls_score).cpu()
            scores, labels = segment_scores(looked['cls_score'].sigmoid(), *things)
            looked |= {'scores': scores, 'labels': labels}
        if number:
            call = calls[number - 1]
            wide, attention = call['kernels'], call['stage'].attention
            looked['attention'] = attention(
                wide, wide, wide, average_attn_weights=False
            )[1][0].cpu()
            for name in ('feature_gate', 'kernel_gate'):
                if name in call:
                    looked[name] = call[name].reshape(len(masks), -1).cpu()
        probs = group_pixels(at_least_float32(masks)[None], grouping)[0].cpu()
        views.append(StageView(at_least_float32(masks).cpu(), probs, **looked))
    return tuple(views)


def numbers(losses: dict[str, Any]) -> dict[str, float]:
    """Return losses as numbers.

    Args:
        losses: A tensor, or a list of them, by name.
    """
    return {
        key: float(sum(v) if isinstance(v, list) else v) for key, v in losses.items()
    }


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
        at_least_float32(truth.masks).cpu(),
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
        at_least_float32(last.cls_score[0]).sigmoid(),
        head.num_proposals,
        model.num_thing_classes,
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
    truths = [model.ground_truth(data_sample, at_least_float32(masks))]
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
