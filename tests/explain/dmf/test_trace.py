"""What is explained is what the model does: its samples, flow and scores."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references.dmf import TINY, bilinear
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.dmf import AdaptiveAlignment, DMFClassifier, DynamicMetaFilter
from paperzoo.dmf.classifier import class_weights, meta_scores
from paperzoo.explain.dmf.trace import (
    EpisodeView,
    explain_episode,
    explain_query,
    group_scores,
)

WAYS, SHOTS, CHANNELS = 3, 2, 4
SOLVERS = ['none', 'euler', 'midpoint', 'rk4', 'dopri5']
LABELS = torch.tensor([2, 0, 1, 1, 2, 0])


def build(
    solver: str = 'rk4', kernel: int = 1, dynamic: bool = True, **alignment: Any
) -> DMFClassifier:
    torch.manual_seed(0)
    filters = dict(groups=2, kernel=kernel, dynamic_sampling=dynamic)
    return (
        DMFClassifier(
            backbone=TINY | {'widths': (CHANNELS,)},
            meta_filter=dict(type=DynamicMetaFilter, **filters),
            alignment=dict(type=AdaptiveAlignment, solver=solver, **alignment),
            feat_channels=CHANNELS,
        )
        .double()
        .eval()
    )


def case(model: DMFClassifier) -> tuple[EpisodeView, Tensor, Tensor]:
    torch.manual_seed(1)
    support = torch.randn(WAYS * SHOTS, 3, 6, 8, dtype=torch.float64)
    query = torch.randn(4, 3, 6, 8, dtype=torch.float64)
    return explain_episode(model, support, LABELS, query), support, query


@pytest.mark.paper('dmf "Adaptive Alignment"')
@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('dynamic', [True, False])
@pytest.mark.parametrize('solver', SOLVERS)
def test_the_trajectory_ends_in_the_models_own_feature(
    solver: str, kernel: int, dynamic: bool
) -> None:
    model = build(solver, kernel, dynamic)
    episode = case(model)[0]
    index = 2
    view = explain_query(model, episode, index)
    assert model.meta_filter is not None
    with torch.no_grad():
        filters = model.meta_filter(episode.query, episode.classes)
        own = model.align(episode.query, filters)[index]
    assert_close(view.states[-1], own)
    assert_close(view.states[0], episode.query[index].expand_as(view.states[0]))
    assert_close(view.score_maps[-1].mean((1, 2)), episode.scores[index])
    assert_close(view.by_group[-1].sum(-1), episode.scores[index])
    assert_close(view.filters, filters[min(index, len(filters) - 1)])
    assert len(view.states) == len(view.times) == (2 if solver == 'none' else 9)


@pytest.mark.paper('dmf "Adaptive Alignment"')
@pytest.mark.parametrize('kernel', [1, 3])
def test_states_between_lie_on_the_flow(kernel: int) -> None:
    model = build('dopri5', kernel, rtol=1e-9, atol=1e-9)
    view = explain_query(model, case(model)[0], 1, points=5)
    assert_close(view.times, torch.linspace(0, 1, 5))
    for number in range(4):
        # What is left of the way leads from each state to the end.
        rest = (1 - view.times[number].double()) * view.filters
        end = model.alignment(view.states[number], rest)
        assert_close(end, view.states[-1], rtol=1e-6, atol=1e-6)
    if kernel == 1:
        rates = view.filters[..., 0].repeat_interleave(2, -1).permute(0, 3, 1, 2)
        start = view.states[0]
        half = torch.where(start > 0, start * (rates / 2).exp(), start)
        assert_close(view.states[2], half, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ('solver', 'steps', 'number'),
    [('none', 1, 0), ('euler', 3, 3), ('midpoint', 1, 2), ('rk4', 2, 8)],
)
@pytest.mark.parametrize('kernel', [1, 3])
def test_evaluations_of_fixed_steps(
    solver: str, steps: int, number: int, kernel: int
) -> None:
    model = build(solver, kernel, steps=steps)
    assert explain_query(model, case(model)[0], 0).evaluations == number


@pytest.mark.parametrize('kernel', [1, 3])
def test_evaluations_of_adaptive_steps_are_counted(kernel: int) -> None:
    model = build('dopri5', kernel, rtol=1e-5, atol=1e-5)
    episode, support, query = case(model)
    with torch.no_grad():
        model(support[None], LABELS[None], query[None])
    counted = list(model.alignment.evaluations)
    assert [explain_query(model, episode, 3).evaluations] == counted


@pytest.mark.paper('dmf "Dynamic Sampling"')
def test_filters_come_from_the_places_shown() -> None:
    model = build()
    episode = case(model)[0]
    torch.manual_seed(3)
    weight = model.meta_filter.offset_conv.weight
    weight.data.normal_(std=0.3)  # the samples lie between pixels and outside, too
    view = explain_query(model, episode, 1)
    assert view.offsets is not None
    kernel = model.meta_filter.filter_conv.weight.detach()
    found = torch.zeros_like(view.filters[..., 0])
    for k in range(WAYS):
        for y in range(found.size(1)):
            for x in range(found.size(2)):
                logit = torch.zeros(2, dtype=torch.float64)
                for tap, (row, column) in enumerate(view.places[k, y, x].tolist()):
                    sample = bilinear(episode.classes[k], row, column)
                    logit += kernel[:, :, tap // 3, tap % 3] @ sample
                found[k, y, x] = logit.sigmoid()
    assert_close(view.filters[..., 0], found)
    assert float(view.offsets.abs().max()) > 0.1


def test_regular_places_by_hand() -> None:
    model = build(dynamic=False)
    view = explain_query(model, case(model)[0], 0)
    assert view.offsets is None
    ring = [[y, x] for y in (0, 1, 2) for x in (1, 2, 3)]
    assert view.places[1, 1, 2].tolist() == ring


def test_the_simpler_rules() -> None:
    model = build()
    episode, support, query = case(model)
    with torch.no_grad():
        own = model(support[None], LABELS[None], query[None])[0]
        maps = model.extract_feat(torch.cat([support, query]))
    assert_close(episode.scores, own)
    supports, queries = maps.split([len(support), len(query)])
    for q, each in enumerate(queries):
        for k in range(WAYS):
            mean = supports[k == LABELS].mean(0)
            cosine = F.cosine_similarity(each.mean((1, 2)), mean.mean((1, 2)), dim=0)
            assert_close(episode.nearest[q, k], cosine)
            weight = F.normalize(mean, dim=0).mean((1, 2))
            score = torch.einsum('chw,c->hw', each, weight).mean()
            assert_close(episode.unaligned[q, k], score)


@pytest.mark.paper('dmf "Meta-classifier"')
@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 999))
def test_groups_add_up_to_the_score(groups: int, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    shape = (2, WAYS, groups * size, 3, 2)
    states = torch.randn(shape, dtype=torch.float64)
    weights = class_weights(torch.randn(shape[1:], dtype=torch.float64))
    found = group_scores(states, weights, groups)
    assert found.shape == (2, WAYS, groups)
    assert_close(found.sum(-1), meta_scores(states, weights).mean((2, 3)))
    only = states.unflatten(2, (groups, size)).clone()
    only[:, :, 1:] = 0
    alone = meta_scores(only.flatten(2, 3), weights).mean((2, 3))
    assert_close(found[..., 0], alone)
