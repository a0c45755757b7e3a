"""What K-Net's kernels did with one image, as arrays.

They are recorded while the model's own functions run, so that what a subclass overrides
is what is shown. Stages are looked into by hooks that are gone afterwards: whoever does
not ask pays nothing, and gets the same numbers. `paperzoo.explain.knet.page` draws.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paperzoo.explain.recording import record, redefined
from paperzoo.knet.kernels import KernelUpdater, group_pixels
from paperzoo.knet.panoptic import PanopticSegments, segment_scores
from paperzoo.utils.precision import at_least_float32

if TYPE_CHECKING:  # Semantic segmentation does without mmdet, which it needs.
    from paperzoo.knet.assigner import Assignment

NO_KERNEL = -1


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


class Pair(NamedTuple):
    """Why a kernel got an object.

    Attributes:
        kernel: The kernel.
        item: The object.
        cost: What the pair costs.
        next_best: The cheapest other kernel for the object, `NO_KERNEL` if there is
            none.
        next_cost: What it would cost.
        substitute: The kernel that gets the object where this pair is forbidden, or
            `NO_KERNEL`.
        extra: How much more all pairs together cost then; infinite if there is no
            other way.
    """

    kernel: int
    item: int
    cost: float
    next_best: int
    next_cost: float
    substitute: int
    extra: float


@dataclass(frozen=True)
class KNetView:
    """One image.

    Attributes:
        stages: The initial kernels, then those after each stage.
        losses: As training logs them, with their sum as `loss`; empty without
            annotations.
        assignments: In the order in which training makes them, on the host; none
            without annotations.
        pairs: Of each assignment the chosen pairs, objects in order.
        segments: What the model's `panoptic_postprocess` found, on the host.
        panoptic: The map that the model answers with, (height, width).
        redefined: A sentence on methods that subclasses redefine, or nothing.
    """

    stages: tuple[StageView, ...]
    losses: dict[str, float]
    assignments: tuple['Assignment', ...] = ()
    pairs: tuple[tuple[Pair, ...], ...] = ()
    segments: PanopticSegments | None = None
    panoptic: Tensor | None = None
    redefined: str = ''

    @property
    def detector(self) -> bool:
        """Whether kernels have scores; those of semantic segmentation are classes."""
        return self.stages[-1].cls_score is not None


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

    def begin(module: nn.Module, args: Any) -> None:
        calls.append({'stage': module, 'masks': args[2]})

    def attend(module: nn.Module, args: Any) -> None:
        calls[-1]['kernels'] = args[0]

    def note(name: str, sigmoid: bool = False) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[-1][name] = output.sigmoid() if sigmoid else output

        return hook

    hooks = []
    for stage in dict.fromkeys(stages):
        hooks.append(stage.register_forward_pre_hook(begin))
        hooks.append(stage.register_forward_hook(note('output')))
        hooks.append(stage.attention.register_forward_pre_hook(attend))
        updater = stage.kernel_updater
        if isinstance(updater, KernelUpdater):
            for name in ('feature_gate', 'kernel_gate'):
                hook = note(name, updater.gate_sigmoid)
                layer = getattr(updater, f'{name}_norm')
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
    losses: dict[str, float] = {}
    truth = data_sample.get('gt_sem_seg')
    if truth is not None and truth.data.shape[-2:] == inputs.shape[-2:]:
        # Only in training does the head give its losses the masks of all stages; its
        # layers stay in evaluation mode.
        head.training = True
        try:
            losses = _logged_losses(model, inputs, data_sample)
        finally:
            head.training = False
    changed = redefined(head, *head.kernel_update_head)
    return KNetView(views, losses, redefined=changed)


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
        predictions = head.predictions(start)
    # Without stages the classes are those of the pixels.
    shown = predictions if calls else [head.last(start)]
    views = stage_views(
        [(masks[0], None if cls is None else cls[0]) for cls, masks in shown],
        calls,
        'sigmoid',
        (head.num_proposals, model.num_thing_classes),
    )
    segments, panoptic = None, None
    if head.do_panoptic:
        with record(model, 'panoptic_postprocess') as calls_of:
            found = model.predict(inputs, [data_sample.clone()], rescale=False)[0]
        panoptic = found.pred_panoptic_seg.sem_seg[0].cpu()
        # Once more, for what comes after may have changed the result in place.
        for call in calls_of['panoptic_postprocess']:
            *arrays, removed = model.panoptic_postprocess(*call.args, **call.kwargs)
            segments = PanopticSegments._make([*(x.cpu() for x in arrays), removed])
    losses, assignments = {}, []
    if _annotated(model, data_sample):
        with record(model, 'assign') as calls_of:
            losses = _logged_losses(model, inputs, data_sample)
        for call in calls_of['assign']:
            for made in [image for stage in call.result for image in stage]:
                terms = {name: term.cpu() for name, term in made.terms.items()}
                made = made._replace(gt_inds=made.gt_inds.cpu(), terms=terms)
                assignments.append(made)
    pairs = [explain_pairs(each) for each in assignments]
    parts = (model, model.kernel_init_head, head, *head.stages)
    changed = redefined(*parts, model.assigner, *head.assigners)
    matching = tuple(assignments), tuple(pairs)
    return KNetView(views, losses, *matching, segments, panoptic, changed)


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
            weights = attention(wide, wide, wide, average_attn_weights=False)[1]
            looked['attention'] = weights[0].cpu()
            for name in ('feature_gate', 'kernel_gate'):
                if name in call:
                    looked[name] = call[name].reshape(len(masks), -1).cpu()
        probs = group_pixels(at_least_float32(masks)[None], grouping)[0].cpu()
        views.append(StageView(at_least_float32(masks).cpu(), probs, **looked))
    return tuple(views)


def _logged_losses(model: Any, inputs: Tensor, data_sample: Any) -> dict[str, float]:
    """Return what training logs of an image: the losses, and their sum as `loss`."""
    _, logged = model.parse_losses(model.loss(inputs, [data_sample]))
    return {name: float(value) for name, value in logged.items()}


def _annotated(model: Any, data_sample: Any) -> bool:
    """Return whether a sample has all that the losses need."""
    if model.num_stuff_classes and 'gt_sem_seg' not in data_sample:
        return False
    objects = data_sample.get('gt_instances', {})
    return 'masks' in objects and 'labels' in objects


def explain_pairs(made: 'Assignment') -> tuple[Pair, ...]:
    """Return each chosen pair with the next best and the price of forbidding it.

    Args:
        made: The assignment, on the host.

    Paper: knet "Training Instance Kernels"
    """
    cost, gt_inds = made.cost.double().numpy(), made.gt_inds.numpy()
    pairs = []
    for kernel in np.flatnonzero(gt_inds).tolist():
        item = int(gt_inds[kernel]) - 1
        without = cost.copy()
        without[kernel, item] = np.inf
        next_best, substitute, extra = int(without[:, item].argmin()), NO_KERNEL, np.inf
        next_cost = float(without[next_best, item])
        try:
            other = made.matching.assigner.solve(without)
        except ValueError:  # Every way needs this pair.
            pass
        else:
            new = np.flatnonzero((other == item + 1) & (gt_inds != item + 1))
            substitute = int(new[0]) if len(new) else NO_KERNEL
            extra = float(_total(cost, other) - _total(cost, gt_inds))
        next_best = next_best if np.isfinite(next_cost) else NO_KERNEL
        own = float(cost[kernel, item])
        pairs.append(Pair(kernel, item, own, next_best, next_cost, substitute, extra))
    return tuple(sorted(pairs, key=lambda pair: (pair.item, pair.cost)))


def _total(cost: np.ndarray, gt_inds: np.ndarray) -> float:
    """Return what all pairs cost together."""
    rows = np.flatnonzero(gt_inds)
    return float(cost[rows, gt_inds[rows] - 1].sum())
