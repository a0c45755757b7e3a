"""What DMF did with one episode, as arrays; `paperzoo.explain.dmf.page` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.dmf.alignment import ORDERS
from paperzoo.dmf.classifier import class_weights, meta_scores
from paperzoo.dmf.episode_classifier import prototypes
from paperzoo.dmf.meta_filter import sample_places, tap_places
from paperzoo.dmf.protonet import prototype_scores
from paperzoo.explain.recording import Call, record
from paperzoo.utils.errors import UserError

_OF_A_BLOCK = (
    *('meta_filter.forward', 'meta_filter.offsets', 'score_block'),
    *('alignment.factors', 'alignment.forward'),
)


@dataclass(frozen=True)
class Block:
    """What the parts of the model returned for queries that it scored at once.

    Attributes:
        start: Number of the first of these queries.
        query: Their feature maps, (queries, channels, height, width).
        weights: What recognises the classes, (classes, channels).
        filters: (queries or 1, classes, height, width, groups, taps).
        offsets: Of the samples, (queries, classes, offsets, height, width), or None.
        factors: What multiplies the groups, likewise; None for filters of more taps.
        aligned: The maps, (queries, classes, channels, height, width), with more taps.
        scores: (queries, classes, height, width).
        evaluations: How often the flow was evaluated.
    """

    start: int
    query: Tensor
    weights: Tensor
    filters: Tensor
    offsets: Tensor | None
    factors: Tensor | None
    aligned: Tensor | None
    scores: Tensor
    evaluations: int


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
        blocks: What was recorded on the way; empty without a meta-filter.
    """

    scores: Tensor
    unaligned: Tensor
    nearest: Tensor
    support: Tensor
    classes: Tensor
    query: Tensor
    losses: Mapping[str, float] = field(default_factory=dict)
    blocks: Sequence[Block] = ()


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
    aligns = getattr(model, 'meta_filter', None) is not None
    batch = support[None], support_label[None], query[None]
    with record(model, 'score_episode', *(_OF_A_BLOCK if aligns else ())) as calls:
        scores = model(*batch)[0]
    if not calls['score_episode']:
        raise UserError(
            f'{type(model).__name__}: its scores do not come from score_episode, so '
            'there is nothing to follow: redefine that method'
        )
    blocks = _blocks(calls, model.alignment) if aligns else []
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
        blocks,
    )


def _blocks(calls: dict[str, list[Call]], alignment: Any) -> list[Block]:
    """Return the recorded parts; each was called once for each block of queries."""
    blocks: list[Block] = []
    start = 0
    filtered, offsets, scored, factors, aligned = (calls[name] for name in _OF_A_BLOCK)
    fixed = alignment.steps * ORDERS.get(alignment.solver, 0)
    counts = alignment.evaluations or [fixed] * len(filtered)
    for i, call in enumerate(filtered):
        query, weights, _ = scored[i].args
        blocks.append(
            Block(
                start,
                query,
                weights,
                filters=call.result,
                offsets=offsets[i].result,
                factors=factors[i].result if factors else None,
                aligned=aligned[i].result if aligned else None,
                scores=scored[i].result,
                evaluations=counts[i],
            )
        )
        start += len(query)
    return blocks


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
    block = [one for one in episode.blocks if one.start <= index][-1]
    row = index - block.start
    own = min(row, len(block.filters) - 1)
    times = torch.linspace(0, 1, points if model.alignment.flows else 2)
    if block.aligned is not None:
        end = block.aligned[row]
    else:
        end = model.alignment.scale(block.query[row], block.factors[own])  # type: ignore[index]
    before = [_state(model.alignment, block, row, t) for t in times[:-1].tolist()]
    states = torch.stack([*before, end])
    maps = meta_scores(states[:-1], block.weights)
    size = model.meta_filter.filter_conv.kernel_size[0]
    classes = episode.classes.to(states)
    regular = tap_places(classes, size).expand(len(classes), -1, -1, -1, -1)
    places, moves = regular, None
    if block.offsets is not None:
        places = sample_places(classes, block.offsets[row], size)
        moves = (places - regular).cpu()
    return QueryView(
        moves,
        places.cpu(),
        block.filters[own].cpu(),
        times,
        states.cpu(),
        torch.cat((maps, block.scores[row][None])).cpu(),
        group_scores(states, block.weights, model.meta_filter.groups).cpu(),
        block.evaluations,
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


def _state(alignment: Any, block: Block, row: int, time: float) -> Tensor:
    """Return one query of a block at a time of its flow to each class.

    The flow is linear in its filters: filters half as large until time 1 lead where
    whole ones lead until 1/2, whatever the solver. An adaptive one chooses its steps
    for all queries of a block together.
    """
    own = min(row, len(block.filters) - 1)
    if not alignment.flows:
        return block.query[row].expand(len(block.weights), -1, -1, -1)
    queries, filters = block.query, time * block.filters
    if not alignment.adaptive:
        queries, filters = queries[row : row + 1], filters[own : own + 1]
        row = own = 0
    if filters.size(-1) == 1:
        return alignment.scale(queries[row], alignment.factors(filters)[own])
    return alignment(queries[:, None], filters)[row]
