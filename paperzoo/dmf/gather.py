"""Weighted sums of a table's rows, with gradients that are fast on every device."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.compat.ops.sampling import gather_rows, spread_rows


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, weights)
        return gather_rows(table, rows, weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, rows, weights = ctx.saved_tensors
        grad = grad.contiguous()
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            of_table = spread_rows(grad, rows, weights, len(table))
        if ctx.needs_input_grad[2]:
            with torch.enable_grad():
                leaf = weights.detach().requires_grad_()
                out = gather_rows(table.detach(), rows, leaf)
            (of_weights,) = torch.autograd.grad(out, leaf, grad)
        return of_table, None, of_weights


def weighted_rows(
    table: Float[Tensor, 'rows channels'],
    rows: Int[Tensor, 'samples parts'],
    weights: Float[Tensor, 'samples parts'],
) -> Float[Tensor, 'samples channels']:
    """Return for each sample the weighted sum of some rows of the table.

    Args:
        table: Contiguous.
        rows: Which rows each sample is made of.
        weights: Of the same rows.
    """
    return _WeightedRows.apply(table, rows, weights.contiguous())
