"""What DMF did with one episode, as arrays; `paperzoo.explain.dmf.page` draws them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.dmf.alignment import ORDERS, grow_positive
from paperzoo.dmf.classifier import class_weights, meta_scores
from paperzoo.dmf.episode_classifier import prototypes
from paperzoo.dmf.meta_filter import sampling_offsets, tap_places
from paperzoo.dmf.protonet import prototype_scores


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
    """

    scores: Tensor
    unaligned: Tensor
    nearest: Tensor
    support: Tensor
    classes: Tensor
    query: Tensor


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
        score_maps: Of each state, (times, classes, height, width).
        by_group: What each group of channels adds to each state's mean score, (times,
            classes, groups).
        evaluations: How often the flow is evaluated, by definition of the solver or,
            for an adaptive one, as counted; 0 without flow.
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
    model: Any, support: Tensor, support_label: Tensor, query: Tensor
) -> EpisodeView:
    """Return how a `DMFClassifier` and simpler rules score the queries.

    Args:
        model: The classifier, in evaluation mode.
        support: Normalised images, (K * S, 3, H, W).
        support_label: Their classes, from 0 to K - 1.
        query: Normalised images, (Q, 3, H, W).
    """
    ways = int(support_label.max()) + 1
    feats = model.extract_feat(torch.cat([support, query]))
    supports, queries = feats.split([len(support), len(query)])
    classes = prototypes(supports, support_label, ways)
    scores = model.predict_from_feats(
        supports[None], support_label[None], queries[None], ways
    )[0]
    unaligned = meta_scores(queries[:, None], class_weights(classes))
    means = queries.mean(dim=(2, 3)), classes.mean(dim=(2, 3))
    nearest = prototype_scores(*means, 'cosine')
    averages = unaligned.mean(dim=(2, 3))
    arrays = (scores, averages, nearest, supports, classes, queries)
    return EpisodeView(*(array.cpu() for array in arrays))


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
    device = model.meta_filter.filter_conv.weight.device
    classes, queries = episode.classes.to(device), episode.query.to(device)
    block = slice(index, index + 1)
    if model.alignment.adaptive:
        # It chooses its steps for a block of queries together.
        blocks = model.query_blocks(queries, len(classes))
        block = next(part for part in blocks if index < part.stop)
    row, queries = index - block.start, queries[block]
    filters = model.meta_filter(queries, classes)
    states, counts = [], []
    times = torch.linspace(0, 1, points if model.alignment.flows else 2)
    for time in times.tolist():
        model.alignment.reset()
        states.append(_state(model.alignment, queries, filters, row, time))
        counts.append(model.alignment.evaluations)
    ends = torch.stack(states)
    weights = class_weights(classes)
    maps = torch.stack([meta_scores(state[None], weights)[0] for state in ends])
    offsets, places = _samples(model.meta_filter, queries[row : row + 1], classes)
    return QueryView(
        offsets,
        places.cpu(),
        filters[min(row, len(filters) - 1)].cpu(),
        times,
        ends.cpu(),
        maps.cpu(),
        group_scores(ends, weights, model.meta_filter.groups).cpu(),
        sum(counts[-1]) or _evaluations(model.alignment),
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

    Paper: dmf "Meta-classifier"
    """
    shares = states.mean(dim=(3, 4)) * weights
    return shares.unflatten(2, (groups, -1)).sum(-1)


def _state(
    alignment: Any, queries: Tensor, filters: Tensor, row: int, time: float
) -> Tensor:
    """Return one query of a block at a time of its flow to each class.

    The flow is linear in its filters: filters half as large until time 1 lead where
    whole ones lead until 1/2, whatever the solver.
    """
    own = min(row, len(filters) - 1)
    if not alignment.flows:
        whole = filters[own] if time else torch.ones_like(filters[own, ..., :1])
        return alignment(queries[row], whole)
    if filters.size(-1) == 1:
        return grow_positive(queries[row], alignment.factors(time * filters)[own])
    return alignment(queries[:, None], time * filters)[row]


def _samples(
    meta_filter: Any, query: Tensor, classes: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Return offsets and places of the samples for one query."""
    size = meta_filter.filter_conv.kernel_size[0]
    places = tap_places(classes, size).expand(len(classes), -1, -1, -1, -1)
    if meta_filter.offset_conv is None:
        return None, places
    offsets = sampling_offsets(query, classes, meta_filter.offset_conv.weight)[0]
    moves = offsets.unflatten(1, (size**2, 2)).permute(0, 3, 4, 1, 2)
    return moves.cpu(), places + moves


def _evaluations(alignment: Any) -> int:
    """Return how often a solver of fixed steps evaluates the flow."""
    return alignment.steps * ORDERS.get(alignment.solver, 0)
