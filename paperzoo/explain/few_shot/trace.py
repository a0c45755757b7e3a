"""What a few-shot classifier lets count in one episode, as arrays."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.explain.recording import Call, record

# What tells how a model weighs, of models that have it.
_PARTS = (
    'score_episode',
    'attend',
    'alignment.factors',
    'adaptation.attention.forward',
)


@dataclass(frozen=True)
class RuleView:
    """How one model compares the queries of an episode with its classes.

    Weights are relative: 1 everywhere says that all count alike.

    Attributes:
        scores: (queries, classes).
        positions: Of the query's positions, (queries, classes, height, width).
        of_class: Likewise of the class's positions; None if the model does not weigh
            them.
        channels: (queries, classes, channels).
        evaluations: How often the flow was evaluated for each block of queries; empty
            without an adaptive flow.
        taken: What each prototype takes from the others, (classes, classes); None if
            they do not look at each other.
    """

    scores: Tensor
    positions: Tensor
    of_class: Tensor | None
    channels: Tensor
    evaluations: tuple[int, ...] = ()
    taken: Tensor | None = None


@torch.no_grad()
def view_episode(
    model: Any,
    support: Float[Tensor, 'supports rgb height width'],
    support_label: Int[Tensor, ' supports'],
    query: Float[Tensor, 'queries rgb height width'],
) -> RuleView:
    """Return what counts for a model, recorded while it scores an episode.

    Args:
        model: An `EpisodeClassifier`, in evaluation mode.
        support: Normalised images.
        support_label: Their classes, from 0 to K - 1.
        query: Normalised images.
    """
    parts = [part for part in (*_PARTS, 'predict_from_feats') if _has(model, part)]
    with record(model, *parts) as calls:
        scores = model(support[None], support_label[None], query[None])[0]
    maps = calls['predict_from_feats'][0].args[2][0]
    even = torch.ones(*scores.shape, *maps.shape[1:]).to(maps)
    positions, channels = even[:, :, 0], even[:, :, :, 0, 0]
    of_class, evaluations = None, ()
    if calls.get('attend'):
        of_class, positions = _attended(calls['attend'][-1], maps)
    if calls.get('alignment.factors'):
        positions, channels = _factors(calls['alignment.factors'], even)
        evaluations = tuple(model.alignment.evaluations)
    taken = None
    if calls.get('adaptation.attention.forward'):
        (seen,) = calls['adaptation.attention.forward'][0].args
        taken = model.adaptation.attention.attention_weights(seen)[0].mean(0).cpu()
    return RuleView(
        scores.cpu(),
        positions.cpu(),
        None if of_class is None else of_class.cpu(),
        channels.cpu(),
        evaluations,
        taken,
    )


def positions_used(weights: Float[Tensor, '*maps height width']) -> float:
    """Return as how many equal ones the positions of a map count, the mean of maps.

    Args:
        weights: Of the positions, not negative.
    """
    shares = weights.flatten(-2) / weights.flatten(-2).sum(-1, keepdim=True)
    entropy = -(shares * shares.clamp(min=1e-12).log()).sum(-1)
    return float(entropy.exp().mean())


def _has(model: Any, path: str) -> bool:
    part = model
    for step in path.split('.'):
        part = getattr(part, step, None)
    return part is not None


def _attended(call: Call, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return CAN's weights of positions: of the class, of the query."""
    first, second = (
        (1 + attention).unflatten(-1, maps.shape[-2:]) for attention in call.result
    )
    return _relative(first, (-2, -1)), _relative(second, (-2, -1))


def _factors(calls: list[Call], even: Tensor) -> tuple[Tensor, Tensor]:
    """Return DMF's weights of the query's positions and channels."""
    # Without dynamic sampling all queries of a block share one row.
    factors = torch.cat([call.result for call in calls])
    factors = factors.expand(len(even), -1, -1, -1, -1)
    positions = _relative(factors.mean(-1), (-2, -1))
    groups = _relative(factors.mean((2, 3)), (-1,))
    return positions, groups.repeat_interleave(even.size(2) // groups.size(-1), -1)


def _relative(weights: Tensor, dims: tuple[int, ...]) -> Tensor:
    return weights / weights.mean(dims, keepdim=True)
