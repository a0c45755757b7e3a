"""Adaptive alignment: the query flows towards a class, dx/dt = ReLU(filter * x).

With filters of one tap, each feature x has a rate w > 0 of its own and the flow has a
closed form. Where x <= 0, ReLU(w x) = 0: it stays. Where x > 0, dx/dt = w x and x stays
positive: x(1) = exp(w) x(0). A solver of fixed steps takes a polynomial in w for the
exponential. So positive features grow by a factor that depends on the filter alone, and
all channels of a group share it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.dmf.meta_filter import apply_filters
from paperzoo.errors import UserError, check_choice
from paperzoo.registry import MODELS

# How many terms of the exponential series one step of a solver computes.
ORDERS = {'euler': 1, 'midpoint': 2, 'rk4': 4}
SOLVERS = ('none', *ORDERS, 'dopri5')


def flow_factors(
    rates: Float[Tensor, '*places'], solver: str, steps: int = 1
) -> Float[Tensor, '*places']:
    """Return by what a positive value grows from t = 0 to 1 when dx/dt = rate * x.

    Args:
        rates: The filters, not negative.
        solver: `'euler'`, `'midpoint'` or `'rk4'`, whose factor is the exponential
            function's series up to its order; `'exact'`: that function.
        steps: Number of equal steps.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import flow_factors
        >>> flow_factors(torch.tensor([0.0, 1.0]), 'midpoint')  # 1 + w + w^2 / 2
        tensor([1.0000, 2.5000])

    Paper: dmf "Adaptive Alignment"
    """
    if solver == 'exact':
        return rates.exp()
    step = rates / steps
    # 1 + s (1 + s/2 (1 + s/3 (...))), the series from its last term on.
    factor = torch.ones_like(step)
    for term in range(ORDERS[solver], 0, -1):
        factor = 1 + step * factor / term
    return factor if steps == 1 else factor**steps


def grow_positive(
    x: Float[Tensor, '*#maps channels height width'],
    factors: Float[Tensor, '*#maps height width groups'],
) -> Float[Tensor, '*maps channels height width']:
    """Return the maps with positive values multiplied and all others as they were.

    Args:
        x: The maps.
        factors: One for each position and group of neighbouring channels.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import grow_positive
        >>> x = torch.tensor([-1.0, 2.0]).view(2, 1, 1)
        >>> grow_positive(x, torch.full((1, 1, 1), 3.0)).flatten()
        tensor([-1.,  6.])

    Paper: dmf "Adaptive Alignment"
    """
    return x.clamp(max=0) + apply_filters(x.relu(), factors.unsqueeze(-1))


def solve(
    rate: Callable[[Tensor], Tensor],
    start: Float[Tensor, '*state'],
    parameters: tuple[Tensor, ...],
    *,
    solver: str,
    steps: int = 1,
    rtol: float = 1e-2,
    atol: float = 1e-2,
    adjoint: bool = False,
) -> tuple[Float[Tensor, '*state'], int]:
    """Return where dx/dt = rate(x) leads from t = 0 to 1, by torchdiffeq.

    Args:
        rate: The right-hand side.
        start: The state at t = 0.
        parameters: What `rate` depends on and gradients are wanted for.
        solver: `'euler'`, `'midpoint'`, `'rk4'` (the 3/8 rule) or `'dopri5'`.
        steps: Number of equal steps; `'dopri5'` chooses its own.
        rtol: Relative tolerance of `'dopri5'`.
        atol: Absolute tolerance of `'dopri5'`.
        adjoint: Compute gradients by solving backwards, which stores no steps.

    Returns:
        The state at t = 1, and how often `rate` was evaluated.

    Raises:
        UserError: If torchdiffeq is not installed, or `'dopri5'` finds no step that is
            small enough, as where a number is not finite.

    Example:
        >>> import torch
        >>> from paperzoo.dmf.alignment import solve
        >>> end, evaluations = solve(lambda x: x, torch.ones(1), (), solver='euler')
        >>> end.item(), evaluations  # one step of dx/dt = x
        (2.0, 1)

    Paper: dmf "Adaptive Alignment"
    """
    try:
        from torchdiffeq import odeint, odeint_adjoint
    except ModuleNotFoundError as error:
        raise UserError(
            f'AdaptiveAlignment: solver={solver!r} needs torchdiffeq here, which is '
            "not installed: pip install 'paperzoo[dmf]', or use filters of kernel=1 "
            f'with one of the solvers {", ".join(ORDERS)}'
        ) from error
    evaluations = 0

    def counted(_: Tensor, state: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return rate(state)

    time = torch.tensor([0.0, 1.0], dtype=start.dtype, device=start.device)
    options: dict[str, Any] = {'method': solver, 'rtol': rtol, 'atol': atol}
    if solver != 'dopri5':
        # Not a step size: its rounding may add a step.
        options['options'] = {'grid_constructor': partial(_grid, steps)}
    if adjoint:
        options['adjoint_params'] = parameters
    try:
        path = (odeint_adjoint if adjoint else odeint)(counted, start, time, **options)
    except AssertionError as error:  # torchdiffeq's word for a step of zero
        finite = all(bool(one.isfinite().all()) for one in (start, *parameters))
        why = 'the flow is too steep' if finite else 'queries or filters are not finite'
        raise UserError(
            f'AdaptiveAlignment: solver={solver!r} stopped after {evaluations} '
            f'evaluations ({error}): {why}. Lower the learning rate or clip gradients, '
            "use solver='rk4', whose steps are fixed, or larger rtol and atol"
        ) from error
    return path[-1], evaluations


def _grid(steps: int, rate: Any, start: Tensor, time: Tensor) -> Tensor:
    """Return the times of equal steps, which the adjoint solver takes backwards."""
    share = torch.arange(steps + 1, dtype=time.dtype, device=time.device) / steps
    return time[0] + (time[-1] - time[0]) * share


@MODELS.register_module()
class AdaptiveAlignment(nn.Module):
    """Moves queries along the flow of their filters.

    With filters of one tap the solvers of fixed steps are computed in closed form and
    `'dopri5'` solves for the factor by which positive values grow, which all channels
    of a group share. Larger filters are left to torchdiffeq.

    Args:
        solver: `'none'`: apply the filter once, without flow; `'euler'`, `'midpoint'`
            or `'rk4'` (the 3/8 rule): fixed steps; `'dopri5'`: adaptive steps, whose
            number depends on the episode.
        steps: Number of fixed steps.
        rtol: Relative tolerance of adaptive steps.
        atol: Absolute tolerance of adaptive steps.
        adjoint: Let torchdiffeq compute gradients by solving backwards, which stores
            no steps.

    Attributes:
        evaluations: How often each solve of torchdiffeq evaluated the flow, since
            `reset`.

    Raises:
        UserError: If `solver` is unknown, `steps` below 1, or a tolerance not above 0.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import AdaptiveAlignment
        >>> query = torch.tensor([-1.0, 2.0]).view(2, 1, 1)
        >>> filters = torch.ones(1, 1, 1, 1)  # height, width, groups, taps
        >>> AdaptiveAlignment('euler')(query, filters).flatten()
        tensor([-1.,  4.])

    Paper: dmf "Adaptive Alignment"
    """

    def __init__(
        self,
        solver: str = 'rk4',
        *,
        steps: int = 1,
        rtol: float = 1e-2,
        atol: float = 1e-2,
        adjoint: bool = False,
    ) -> None:
        super().__init__()
        check_choice('AdaptiveAlignment', 'solver', solver, SOLVERS)
        if steps < 1:
            raise UserError(f'AdaptiveAlignment: steps={steps}: use 1 or more')
        if min(rtol, atol) <= 0:
            raise UserError(
                f'AdaptiveAlignment: rtol={rtol}, atol={atol}: use positive tolerances'
            )
        self.solver = solver
        self.steps = steps
        self.rtol = rtol
        self.atol = atol
        self.adjoint = adjoint
        self.evaluations: list[int] = []

    @property
    def flows(self) -> bool:
        """Whether there is a flow, which leaves what is not positive."""
        return self.solver != 'none'

    @property
    def adaptive(self) -> bool:
        """Whether the number of steps depends on what is aligned."""
        return self.solver == 'dopri5'

    def reset(self) -> None:
        """Forget the numbers of evaluations."""
        self.evaluations = []

    def factors(
        self, filters: Float[Tensor, '*maps height width groups 1']
    ) -> Float[Tensor, '*maps height width groups']:
        """Return what filters of one tap multiply: with a flow, positive values only.

        Args:
            filters: Not negative.
        """
        rates = filters.squeeze(-1)
        if not self.flows:
            return rates
        if self.adaptive:
            return self._solve(lambda x: rates * x, torch.ones_like(rates), rates)
        return flow_factors(rates, self.solver, self.steps)

    def scale(
        self,
        query: Float[Tensor, '*#maps channels height width'],
        factors: Float[Tensor, '*#maps height width groups'],
    ) -> Float[Tensor, '*maps channels height width']:
        """Return the maps multiplied by factors: with a flow, positive values only.

        Args:
            query: The maps.
            factors: Of `factors`.
        """
        if self.flows:
            return grow_positive(query, factors)
        return apply_filters(query, factors.unsqueeze(-1))

    def forward(
        self,
        query: Float[Tensor, '*#maps channels height width'],
        filters: Float[Tensor, '*#maps height width groups taps'],
    ) -> Float[Tensor, '*maps channels height width']:
        """Return the aligned maps.

        Args:
            query: The maps.
            filters: Not negative.
        """
        if filters.size(-1) == 1:
            return self.scale(query, self.factors(filters))
        if not self.flows:
            return apply_filters(query, filters)
        # The state has one map for each pair, also where either is shared.
        pairs = torch.broadcast_shapes(query.shape[:-3], filters.shape[:-4])
        start = query.expand(*pairs, -1, -1, -1)
        return self._solve(lambda x: apply_filters(x, filters).relu(), start, filters)

    def _solve(
        self, rate: Callable[[Tensor], Tensor], start: Tensor, filters: Tensor
    ) -> Tensor:
        end, evaluations = solve(
            rate,
            start,
            (filters,),
            solver=self.solver,
            steps=self.steps,
            rtol=self.rtol,
            atol=self.atol,
            adjoint=self.adjoint,
        )
        self.evaluations.append(evaluations)
        return end
