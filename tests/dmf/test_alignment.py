"""The flow: closed forms beside the solver, laws and gradients of every solver."""

import sys
from typing import Any

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.dmf import alignment as room
from paperzoo.dmf.alignment import AdaptiveAlignment
from paperzoo.dmf.meta_filter import apply_filters
from paperzoo.errors import UserError

typecheck = jaxtyped(typechecker=beartype)
flow_factors = typecheck(room.flow_factors)
grow_positive = typecheck(room.grow_positive)
FLOWS = ['euler', 'midpoint', 'rk4', 'dopri5']
TIGHT = dict(rtol=1e-9, atol=1e-9)

solvers = st.sampled_from(FLOWS)
seeds = st.integers(0, 999)


def case(seed: int, taps: int = 1) -> tuple[Tensor, Tensor]:
    """Maps (2, 4, 3, 3) and filters from 0 to 1 of 2 groups."""
    torch.manual_seed(seed)
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    return x, torch.rand(2, 3, 3, 2, taps, dtype=torch.float64)


def solved(x: Tensor, filters: Tensor, **options: Any) -> Tensor:
    def flow(state: Tensor) -> Tensor:
        return apply_filters(state, filters).relu()

    return room.solve(flow, x, (filters,), **options)[0]


@pytest.mark.paper('dmf "Adaptive Alignment"')
@settings(max_examples=20)
@given(st.sampled_from(FLOWS[:3]), st.integers(1, 7), seeds)
def test_closed_forms_equal_the_solver(solver: str, steps: int, seed: int) -> None:
    x, filters = case(seed)
    closed = AdaptiveAlignment(solver, steps=steps)(x, filters)
    assert_close(closed, solved(x, filters, solver=solver, steps=steps))
    single = AdaptiveAlignment(solver, steps=steps)(x.float(), filters.float())
    assert_close(single, closed.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('taps', [1, 9])
@pytest.mark.parametrize('solver', [*FLOWS, 'none'])
def test_queries_may_share_filters(solver: str, taps: int) -> None:
    torch.manual_seed(0)
    queries = torch.randn(3, 1, 4, 3, 3, dtype=torch.float64)
    filters = torch.rand(1, 2, 3, 3, 2, taps, dtype=torch.float64) / taps
    align = AdaptiveAlignment(solver, **TIGHT)
    own = filters.expand(3, -1, -1, -1, -1, -1).contiguous()
    assert_close(align(queries, filters), align(queries, own))


@pytest.mark.parametrize(
    ('solver', 'factor'),
    [
        ('euler', 1.5),
        ('midpoint', 1 + 0.5 + 0.125),
        ('rk4', 1 + 0.5 + 0.125 + 1 / 48 + 1 / 384),
        ('exact', 1.6487212707),
    ],
)
def test_factors_by_hand(solver: str, factor: float) -> None:
    rate = torch.tensor([0.5, 0.0], dtype=torch.float64)
    expected = torch.tensor([factor, 1.0], dtype=torch.float64)
    assert_close(flow_factors(rate, solver), expected)
    if solver == 'euler':
        twice = torch.tensor([1.25**2, 1.0], dtype=torch.float64)
        assert_close(flow_factors(rate, solver, 2), twice)


@pytest.mark.paper('dmf "Adaptive Alignment"')
@settings(max_examples=20)
@given(solvers, seeds)
def test_negative_values_stay_and_positive_ones_grow(solver: str, seed: int) -> None:
    x, filters = case(seed)
    aligned = AdaptiveAlignment(solver)(x, filters)
    assert_close(aligned[x <= 0], x[x <= 0], rtol=0, atol=0)
    # An adaptive step is interpolated, with some rounding.
    assert bool((aligned[x > 0] >= (1 - 1e-9) * x[x > 0]).all())
    still = AdaptiveAlignment(solver)(x, torch.zeros_like(filters))
    assert_close(still, x, rtol=0, atol=0)


@settings(max_examples=10)
@given(st.sampled_from(FLOWS[:3]), seeds)
def test_nothing_shrinks_with_larger_filters(solver: str, seed: int) -> None:
    x, filters = case(seed, taps=9)
    aligned = AdaptiveAlignment(solver)(x, filters)
    assert bool((aligned >= x).all())
    assert_close(aligned, solved(x, filters, solver=solver))


def test_without_flow_the_filter_is_applied_once() -> None:
    for taps in (1, 9):
        x, filters = case(0, taps)
        aligned = AdaptiveAlignment('none')(x, filters)
        assert_close(aligned, apply_filters(x, filters))
        identity = torch.zeros_like(filters)
        identity[..., taps // 2] = 1
        assert_close(AdaptiveAlignment('none')(x, identity), x, rtol=0, atol=0)


def test_more_steps_come_nearer_to_the_exact_flow() -> None:
    rate = torch.linspace(0, 1, 11, dtype=torch.float64)
    exact = flow_factors(rate, 'exact')
    for solver, order in (('euler', 1), ('midpoint', 2), ('rk4', 4)):
        errors = [
            float((flow_factors(rate, solver, steps) - exact).abs().max())
            for steps in (8, 16)
        ]
        # Half the step, a half to the power of the order of the error.
        assert errors[1] / errors[0] == pytest.approx(0.5**order, rel=0.1)


@pytest.mark.parametrize('adjoint', [False, True])
def test_adaptive_steps_solve_for_factors_or_for_maps(adjoint: bool) -> None:
    x, filters = case(1)
    exact = grow_positive(x, flow_factors(filters[..., 0], 'exact'))
    module = AdaptiveAlignment('dopri5', adjoint=adjoint, **TIGHT)
    assert_close(module(x, filters), exact, rtol=1e-7, atol=1e-7)
    maps = solved(x, filters, solver='dopri5', adjoint=adjoint, **TIGHT)
    assert_close(maps, exact, rtol=1e-7, atol=1e-7)
    loose = AdaptiveAlignment('dopri5', adjoint=adjoint)(x, filters)
    assert_close(loose, exact, rtol=1e-2, atol=1e-2)


@pytest.mark.paper('dmf "Adaptive Alignment"')
def test_the_number_of_evaluations_depends_on_the_filters() -> None:
    module = AdaptiveAlignment('dopri5', rtol=1e-7, atol=1e-7)
    x, filters = case(0)
    module(x, 0.01 * filters)
    module(x, filters)
    easy, hard = module.evaluations
    assert 0 < easy < hard
    module.reset()
    assert module.evaluations == []


def leaves(taps: int, positive: bool) -> tuple[Tensor, Tensor]:
    """A small case that wants gradients."""
    x, filters = case(3, taps)
    x = x[:1, :2].abs() if positive else x[:1, :2].clone()
    return x.requires_grad_(), (0.2 * filters[:1, ..., :1, :]).requires_grad_()


@pytest.mark.parametrize('taps', [1, 9])
@pytest.mark.parametrize('solver', ['none', *FLOWS])
def test_gradients(solver: str, taps: int) -> None:
    # Where a value crosses 0 on its way, adaptive steps are many and their number
    # changes with the value: no smooth function.
    positive = solver == 'dopri5'
    module = AdaptiveAlignment(solver, steps=2, **TIGHT)
    # Adaptive steps are slow: they are checked along random directions.
    assert gradcheck(module, leaves(taps, positive), fast_mode=positive)


@pytest.mark.parametrize('taps', [1, 9])
@pytest.mark.parametrize(('solver', 'tolerance'), [('rk4', 1e-4), ('dopri5', 1e-7)])
def test_solving_backwards_gives_the_gradients(
    solver: str, tolerance: float, taps: int
) -> None:
    x, filters = leaves(taps, positive=True)
    options = dict(solver=solver, steps=8, **TIGHT)
    end = solved(x, filters, **options)
    backwards = solved(x, filters, adjoint=True, **options)
    assert_close(backwards, end)
    direct = torch.autograd.grad(end.sin().sum(), (x, filters))
    adjoint = torch.autograd.grad(backwards.sin().sum(), (x, filters))
    for one, other in zip(direct, adjoint, strict=True):
        assert_close(other, one, rtol=0, atol=tolerance)


def test_torchdiffeq_is_asked_for_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'torchdiffeq', None)
    x, filters = case(0)
    AdaptiveAlignment('rk4')(x, filters)
    with pytest.raises(UserError, match=r"solver='dopri5'.*pip install"):
        AdaptiveAlignment('dopri5')(x, filters)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(solver='rk5'), "solver='rk5'.*'dopri5'"),
        (dict(steps=0), 'steps=0'),
        (dict(rtol=0.0), r'rtol=0\.0'),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AdaptiveAlignment(**wrong)


@pytest.mark.parametrize(
    ('taps', 'value', 'why'),
    [(1, torch.nan, 'are not finite'), (9, torch.nan, 'are not finite')],
)
def test_a_flow_without_a_step_is_said(taps: int, value: float, why: str) -> None:
    filters = torch.rand(1, 4, 4, 2, taps)
    filters[0, 0, 0, 0, 0] = value
    with pytest.raises(UserError, match=rf"solver='dopri5' stopped.*{why}.*'rk4'"):
        AdaptiveAlignment('dopri5')(torch.randn(1, 4, 4, 4), filters)
