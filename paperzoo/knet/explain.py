"""What K-Net's kernels did with one image, as arrays.

Stages are looked into by hooks that are gone afterwards: whoever does not ask pays
nothing, and gets the same numbers. `paperzoo.explain.knet` draws the arrays.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from paperzoo.knet.kernels import KernelUpdater, full, group_pixels
from paperzoo.knet.panoptic import segment_scores

if TYPE_CHECKING:
    from paperzoo.knet.explain_detector import Contest, MatchView


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
            looked['cls_score'] = full(cls_score).cpu()
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
        probs = group_pixels(full(masks)[None], grouping)[0].cpu()
        views.append(StageView(full(masks).cpu(), probs, **looked))
    return tuple(views)


def numbers(losses: dict[str, Any]) -> dict[str, float]:
    """Return losses as numbers.

    Args:
        losses: A tensor, or a list of them, by name.
    """
    return {
        key: float(sum(v) if isinstance(v, list) else v) for key, v in losses.items()
    }
