"""Bilinear samples as weighted sums of a table's rows, and the way back.

A map with one contiguous row of channels for each pixel makes a sample the sum of four
rows: `embedding_bag`, one pass of vectorised sums. The gradient of the table is the
same operation with the roles of rows and samples exchanged, after a sort.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def bilinear_corners(
    positions: Float[Tensor, '*samples 2'], size: Int[Tensor, '*#samples 2']
) -> tuple[Int[Tensor, '*samples 4'], Float[Tensor, '*samples 4']]:
    """Return the four pixels around each position (y * width + x) and their weights.

    A pixel outside the image has weight 0 (and some valid number). So have all four of
    a position that is a whole pixel or more outside, or not finite; such a position has
    no gradient either.

    Args:
        positions: (y, x) in pixels; the centre of the first pixel is (0, 0).
        size: Height and width of the image that each position lies in.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sampling import bilinear_corners
        >>> bilinear_corners(torch.tensor([1.0, 0.25]), torch.tensor([2, 3]))
        (tensor([3, 4, 3, 4]), tensor([0.7500, 0.2500, 0.0000, 0.0000]))
    """
    inside = ((positions > -1) & (positions < size)).all(dim=-1, keepdim=True)
    positions = torch.where(inside, positions, 0.0)
    low = positions.detach().floor()
    share = positions - low
    shares = torch.stack((1 - share, share), dim=-1)
    pixels = torch.stack((low, low + 1), dim=-1).long()  # *samples yx=2 low_high=2
    last = size[..., None] - 1
    valid = inside[..., None] & (pixels >= 0) & (pixels <= last)
    shares = torch.where(valid, shares, 0.0)
    pixels = pixels.clamp(min=0).minimum(last)
    rows = pixels[..., 0, :, None] * size[..., 1, None, None] + pixels[..., 1, None, :]
    weights = shares[..., 0, :, None] * shares[..., 1, None, :]
    return rows.flatten(-2), weights.flatten(-2)


def gather_rows(
    table: Float[Tensor, 'rows channels'],
    rows: Int[Tensor, 'samples parts'],
    weights: Float[Tensor, 'samples parts'],
) -> Float[Tensor, 'samples channels']:
    """Return for each sample the weighted sum of some rows of the table.

    Args:
        table: Contiguous; a strided table is many times slower.
        rows: Which rows each sample is made of.
        weights: Of the same rows. The sums may be differentiated for them by autograd.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sampling import gather_rows
        >>> table, rows = torch.tensor([[1.0], [10]]), torch.tensor([[0, 1]])
        >>> gather_rows(table, rows, torch.tensor([[0.5, 2]]))
        tensor([[20.5000]])
    """
    return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)


def scatter_rows(
    samples: Float[Tensor, 'samples channels'],
    rows: Int[Tensor, 'samples parts'],
    weights: Float[Tensor, 'samples parts'],
    table_rows: int,
) -> Float[Tensor, 'table_rows channels']:
    """Return for each row of a table the weighted sum of the samples that it is in.

    The transpose of `gather_rows`: it takes the gradient of the samples to that of the
    table. Sorting makes the samples of a row neighbours, so that each row is written
    once, in one order: several times faster than adding sample by sample.

    Args:
        samples: What is added to the rows.
        rows: Which rows each sample is made of.
        weights: Of the same rows.
        table_rows: How many rows the table has.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sampling import scatter_rows
        >>> rows, weights = torch.tensor([[0, 1]]), torch.tensor([[0.5, 2]])
        >>> scatter_rows(torch.tensor([[10.0]]), rows, weights, table_rows=3)
        tensor([[ 5.],
                [20.],
                [ 0.]])
    """
    row, order = rows.flatten().sort(stable=True)
    bounds = torch.searchsorted(row, torch.arange(table_rows + 1, device=row.device))
    return F.embedding_bag(
        order // rows.size(1),
        samples,
        bounds,
        mode='sum',
        per_sample_weights=weights.flatten()[order],
        include_last_offset=True,
    )


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
            of_table = scatter_rows(grad, rows, weights, len(table))
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
    """Return what `gather_rows` does; the gradient of its table is much faster.

    Args:
        table: Contiguous.
        rows: Which rows each sample is made of.
        weights: Of the same rows.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sampling import weighted_rows
        >>> table = torch.tensor([[1.0], [10]], requires_grad=True)
        >>> rows, weights = torch.tensor([[0, 1]]), torch.tensor([[0.5, 2]])
        >>> weighted_rows(table, rows, weights).backward()
        >>> table.grad.flatten()
        tensor([0.5000, 2.0000])
    """
    return _WeightedRows.apply(table, rows, weights.contiguous())
