"""Sparse matrices, by rows, and their products with tables of channels.

`embedding_bag` is such a product: one pass of vectorised sums over whole rows.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Sums that are computed at once: 2 MiB, which stay in the cache.
_SUMS = 1 << 19


class SparseMatrix(NamedTuple):
    """A matrix as its entries, row by row (the format CSR).

    Row n has the entries from starts[n] to before starts[n + 1].

    Example:
        >>> import torch
        >>> from paperzoo.ops.sparse import SparseMatrix, product
        >>> entries = torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.5, 3.0])
        >>> mean_and_triple = SparseMatrix(*entries, torch.tensor([0, 2, 3]))
        >>> product(mean_and_triple, torch.tensor([[2.0], [4.0]]))
        tensor([[ 3.],
                [12.]])
    """

    columns: Int[Tensor, ' entries']
    weights: Float[Tensor, ' entries']
    starts: Int[Tensor, ' rows_and_1']


def product(
    matrix: SparseMatrix, table: Float[Tensor, 'columns channels']
) -> Float[Tensor, 'rows channels']:
    """Return the matrix times a dense table; see `SparseMatrix` for an example.

    Args:
        matrix: Says which rows of the table each sum adds, and how much of them.
        table: Contiguous; a strided one is many times slower.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sparse import SparseMatrix, product
        >>> double = SparseMatrix(*torch.tensor([[1], [2]]), torch.tensor([0, 1]))
        >>> product(double._replace(weights=torch.tensor([2.0])), torch.eye(2))
        tensor([[0., 2.]])
    """
    args = False, 0, False, matrix.weights, True
    return torch.embedding_bag(table, matrix.columns, matrix.starts, *args)[0]


def transposed(
    matrix: SparseMatrix, numbers: Int[Tensor, ' rows'], columns: int
) -> SparseMatrix:
    """Return the transpose of a matrix: the gradient of a product's table needs it.

    Args:
        matrix: The matrix.
        numbers: What its rows are called in the result.
        columns: How many columns it has.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sparse import SparseMatrix, transposed
        >>> entries = torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.5, 3.0])
        >>> matrix = SparseMatrix(*entries, torch.tensor([0, 2, 3]))
        >>> transposed(matrix, torch.arange(2), columns=2).starts
        tensor([0, 1, 3])
    """
    by_column, order = matrix.columns.sort()
    ones = by_column.new_ones(1).expand(len(by_column))
    counts = by_column.new_zeros(columns + 1).index_add_(0, by_column + 1, ones)
    # Known beforehand: asking for the sum of the sizes would stop the host.
    numbers = numbers.to(by_column.dtype).repeat_interleave(
        matrix.starts.diff(), output_size=len(by_column)
    )
    numbers, weights = (x.index_select(0, order) for x in (numbers, matrix.weights))
    return SparseMatrix(numbers, weights, counts.cumsum(0, dtype=counts.dtype))


def runs(
    matrix: SparseMatrix, size: int, width: int
) -> Iterator[tuple[slice, slice, SparseMatrix]]:
    """Yield runs of rows with entries: which images, pixels of these, and the rows.

    Args:
        matrix: One row for each pixel of all images, one image after another.
        size: How many pixels an image has.
        width: How many channels will be summed. On a CPU a run of pixels is so short
            that the sums stay in the cache; on a GPU there is one.

    Example:
        >>> import torch
        >>> from paperzoo.ops.sparse import SparseMatrix, runs
        >>> starts = torch.tensor([0, 0, 0, 1, 1])  # two images of two pixels
        >>> third = SparseMatrix(torch.tensor([0]), torch.ones(1), starts)
        >>> [(images, pixels) for images, pixels, _ in runs(third, size=2, width=8)]
        [(slice(1, 2, None), slice(0, 2, None))]
    """
    if matrix.starts.is_cuda:
        yield slice(None), slice(None), matrix
        return
    edges = [*range(0, size, max(1, _SUMS // width)), size]
    for number, starts in enumerate(matrix.starts[:-1].view(-1, size)):
        ends = [*starts[edges[:-1]].tolist(), int(matrix.starts[(number + 1) * size])]
        for pixels, (first, last) in zip(pairwise(edges), pairwise(ends), strict=True):
            if first < last:
                some = slice(number * size + pixels[0], number * size + pixels[1] + 1)
                part = SparseMatrix(
                    matrix.columns[first:last],
                    matrix.weights[first:last],
                    matrix.starts[some] - first,
                )
                yield slice(number, number + 1), slice(*pixels), part
