"""What DMF did with one episode, as arrays; `paperzoo.explain.dmf.page` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.common.few_shot.episode_classifier import prototype_scores, prototypes
from paperzoo.dmf.alignment import ORDERS
from paperzoo.dmf.classifier import class_weights, meta_scores
from paperzoo.dmf.meta_filter import sample_places, tap_places
from paperzoo.errors import UserError
from paperzoo.explain.recording import Call, record

_PARTS = (
    *('score_block', 'meta_filter.offsets'),
    *('alignment.factors', 'alignment.forward'),
)


@dataclass(frozen=True)
class EpisodeView:
    """Every query of an episode, three times scored.

    Attributes:
        scores: The model's scores, (queries, classes).
        unaligned: The same without alignment.
        nearest: By the nearest prototype: the cosine of mean features.
        support: Feature maps of the supports, (supports, channels, height, width).
        classes: Their means, (classes, channels, height, width).
        query: Feature maps of the queries, (queries, channels, height, width).
        losses: What the model's loss says, by name; empty if labels were not given.
        evaluations: How often the flow was evaluated for each block of queries, where
            that was counted.
        calls: Of the parts of a model with a meta-filter; each was called once for each
            block of queries that it scores together. Empty if it does not score so.
    """

    scores: Tensor
    unaligned: Tensor
    nearest: Tensor
    support: Tensor
    classes: Tensor
    query: Tensor
    losses: Mapping[str, float] = field(default_factory=dict)
    evaluations: Sequence[int] = ()
    calls: Mapping[str, Sequence[Call]] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryView:
    """One query on its way to every class.

    Attributes:
        offsets: How far each tap's sample lies from its regular place, (classes,
            height, width, taps, 2), as (dy, dx) in pixels of the feature map; None
            without dynamic sampling.
        places: Where the samples lie, likewise; (y, x) of a pixel's centre are whole.
        filters: From 0 to 1, (classes, height, width, groups, taps).
        times: Times of `states`.
        states: The query at these times, (times, classes, channels, height, width);
            the last one is what the model compares with the class.
        score_maps: Of each state, (times, classes, height, width); the last ones are
            the model's.
        by_group: What each group of channels adds to each state's mean score, (times,
            classes, groups).
        evaluations: How often the flow is evaluated, by definition of the solver or,
            where one is asked, as counted; 0 without flow.
    """

    offsets: Tensor | None
    places: Tensor
    filters: Tensor
    times: Tensor
    states: Tensor
    score_maps: Tensor
    by_group: Tensor
    evaluations: int


@torch.no_grad()
def explain_episode(
    model: Any,
    support: Float[Tensor, 'supports rgb height width'],
    support_label: Int[Tensor, ' supports'],
    query: Float[Tensor, 'queries rgb height width'],
    query_label: Int[Tensor, ' queries'] | None = None,
) -> EpisodeView:
    """Return how a `DMFClassifier` and simpler rules score the queries.

    Args:
        model: The classifier, in evaluation mode.
        support: Normalised images.
        support_label: Their classes, from 0 to K - 1.
        query: Normalised images.
        query_label: Their classes, for the losses.

    Raises:
        UserError: If the model makes its scores without `score_episode`.
    """
    parts = () if getattr(model, 'meta_filter', None) is None else _PARTS
    batch = support[None], support_label[None], query[None]
    with record(model, 'score_episode', *parts) as calls:
        scores = model(*batch)[0]
    if not calls['score_episode']:
        raise UserError(
            f'{type(model).__name__}: its scores do not come from score_episode, so '
            'there is nothing to follow: redefine that method'
        )
    evaluations = model.alignment.evaluations if parts else ()
    supports, _, queries, ways = calls['score_episode'][0].args
    classes = prototypes(supports, support_label, ways)
    unaligned = meta_scores(queries[:, None], class_weights(classes))
    means = queries.mean(dim=(2, 3)), classes.mean(dim=(2, 3))
    losses: dict[str, float] = {}
    if query_label is not None:
        labels = query_label[None]
        # The global classifier was trained on other classes: no query counts for it.
        found = model(
            *batch, labels, query_class=torch.full_like(labels, -1), mode='loss'
        )
        logs = model.parse_losses(found)[1]
        losses = {name: float(value) for name, value in logs.items()}
    return EpisodeView(
        scores.cpu(),
        unaligned.mean(dim=(2, 3)).cpu(),
        prototype_scores(*means, 'cosine').cpu(),
        supports.cpu(),
        classes.cpu(),
        queries.cpu(),
        losses,
        evaluations,
        {part: calls[part] for part in parts if calls['score_block']},
    )


@torch.no_grad()
def explain_query(
    model: Any, episode: EpisodeView, index: int, points: int = 9
) -> QueryView:
    """Return how one query flows towards every class.

    Args:
        model: The classifier that made `episode`; it has a meta-filter.
        episode: Of `explain_episode`.
        index: Which query.
        points: Times at which the flow is looked at, from 0 to 1.

    Paper: dmf "Adaptive Alignment"
    """
    calls, row, block = episode.calls, index, 0
    while row >= len(calls['score_block'][block].args[0]):
        row -= len(calls['score_block'][block].args[0])
        block += 1
    queries, weights, filters = calls['score_block'][block].args
    # Without dynamic sampling all queries share one row of filters.
    own = min(row, len(filters) - 1)
    alignment = model.alignment
    if calls['alignment.factors']:
        factors = calls['alignment.factors'][block].result[own]
        end = alignment.scale(queries[row], factors)
    else:
        end = calls['alignment.forward'][block].result[row]
    counts = episode.evaluations
    times = torch.linspace(0, 1, points if alignment.flows else 2)
    before = [_state(alignment, queries, filters, row, t) for t in times[:-1].tolist()]
    states = torch.stack([*before, end])
    maps = meta_scores(states[:-1], weights), calls['score_block'][block].result[row]
    size = model.meta_filter.filter_conv.kernel_size[0]
    classes = episode.classes.to(states)
    regular = tap_places(classes, size).expand(len(classes), -1, -1, -1, -1)
    places, moves = regular, None
    sampled = calls['meta_filter.offsets']
    if sampled and (offsets := sampled[block].result) is not None:
        places = sample_places(classes, offsets[row], size)
        moves = (places - regular).cpu()
    return QueryView(
        moves,
        places.cpu(),
        filters[own].cpu(),
        times,
        states.cpu(),
        torch.cat((maps[0], maps[1][None])).cpu(),
        group_scores(states, weights, model.meta_filter.groups).cpu(),
        counts[block] if counts else alignment.steps * ORDERS.get(alignment.solver, 0),
    )


def group_scores(
    states: Float[Tensor, 'times classes channels height width'],
    weights: Float[Tensor, 'classes channels'],
    groups: int,
) -> Float[Tensor, 'times classes groups']:
    """Return what each group of channels adds to a map's mean score.

    Args:
        states: Aligned maps.
        weights: Of `paperzoo.dmf.class_weights`.
        groups: Number of groups of neighbouring channels.

    Example:
        >>> import torch
        >>> states, weights = torch.ones(1, 1, 4, 2, 2), torch.tensor([[1.0, 2, 3, 4]])
        >>> group_scores(states, weights, 2)
        tensor([[[3., 7.]]])

    Paper: dmf "Meta-classifier"
    """
    shares = states.mean(dim=(3, 4)) * weights
    return shares.unflatten(2, (groups, -1)).sum(-1)


def _state(
    alignment: Any, queries: Tensor, filters: Tensor, row: int, time: float
) -> Tensor:
    """Return one query of a block at a time of its flow to each class.

    The flow is linear in its filters: filters half as large until time 1 lead where
    whole ones lead until 1/2, whatever the solver. An adaptive one chooses its steps
    for all queries of a block together.
    """
    if not alignment.flows:
        return queries[row].expand(filters.size(1), -1, -1, -1)
    own = min(row, len(filters) - 1)
    if not alignment.adaptive:
        queries, filters = queries[row : row + 1], filters[own : own + 1]
        row = own = 0
    if filters.size(-1) == 1:
        return alignment.scale(queries[row], alignment.factors(time * filters)[own])
    return alignment(queries[:, None], time * filters)[row]
