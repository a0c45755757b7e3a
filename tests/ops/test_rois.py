"""What the pooling ops share."""

import pytest
import torch
from torch.testing import assert_close

from paperzoo.ops.roi_common import equal_rows, transpose


def test_equal_rows_are_grouped_in_order() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(0, 3, (200, 3), generator=generator) * 10**8
    groups = [(rows.tolist(), value) for rows, value in equal_rows(table)]
    assert sorted(row for rows, _ in groups for row in rows) == [*range(200)]
    for rows, value in groups:
        assert rows == sorted(rows)
        assert table[rows].unique(dim=0).tolist() == [value]
    assert len(groups) == len(table.unique(dim=0))
    assert list(equal_rows(table[:0])) == []


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', [(3, 70), (1, 5), (5, 1), (0, 4), (4, 0)])
def test_transpose(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape).to(dtype).requires_grad_()
    into = torch.full(shape[::-1], torch.nan, dtype=dtype)
    transpose(matrix, into)
    assert_close(into, matrix.detach().t(), rtol=0, atol=0)
    transpose(matrix[:, ::2], half := into[::2].clone())
    assert_close(half, matrix.detach()[:, ::2].t(), rtol=0, atol=0)
