"""Products with neighbourhoods: a loop, and that each is the others' gradient."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch import Tensor
from torch.testing import assert_close

from paperzoo.attention import windows as room
from paperzoo.attention.windows import Window

typecheck = jaxtyped(typechecker=beartype)
neighbour_scores = typecheck(room.neighbour_scores)
neighbour_sums = typecheck(room.neighbour_sums)
neighbour_spread = typecheck(room.neighbour_spread)
taps_inside = typecheck(room.taps_inside)

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def draw(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    outputs: tuple[int, int],
) -> tuple[Window, Tensor, Tensor, Tensor]:
    """Return a window, queries, maps that are just large enough, and weights."""
    torch.manual_seed(0)
    window = Window(kernel, stride, dilation)
    size = (
        (count - 1) * step + apart * (side - 1) + 1
        for count, step, apart, side in zip(
            outputs, stride, dilation, kernel, strict=True
        )
    )
    query = torch.randn(2, 2, 3, *outputs, dtype=torch.float64)
    maps = torch.randn(2, 2, 3, *size, dtype=torch.float64)
    taps = kernel[0] * kernel[1]
    weights = torch.randn(2, 2, taps, *outputs, dtype=torch.float64)
    return window, query, maps, weights


@pytest.mark.paper('local-attention "Self-Attention"')
@settings(max_examples=20)
@given(pairs, pairs, pairs, pairs)
def test_scores_and_sums_equal_the_loop(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    outputs: tuple[int, int],
) -> None:
    window, query, maps, weights = draw(kernel, stride, dilation, outputs)
    scores = neighbour_scores(query, maps, window)
    sums = neighbour_sums(weights, maps, window)
    for y in range(outputs[0]):
        for x in range(outputs[1]):
            total = torch.zeros(2, 2, 3, dtype=torch.float64)
            for tap in range(kernel[0] * kernel[1]):
                i, j = divmod(tap, kernel[1])
                row = y * stride[0] + i * dilation[0]
                column = x * stride[1] + j * dilation[1]
                pixel = maps[..., row, column]
                own = scores[:, :, tap, y, x]
                assert_close(own, (query[..., y, x] * pixel).sum(-1))
                total += weights[:, :, tap, y, x, None] * pixel
            assert_close(sums[..., y, x], total)


@settings(max_examples=20)
@given(pairs, pairs, pairs, pairs)
def test_the_three_products_are_one_form(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    outputs: tuple[int, int],
) -> None:
    """Sum of weight * query * key, by weights, by queries and by keys."""
    window, query, maps, weights = draw(kernel, stride, dilation, outputs)
    size = (maps.size(-2), maps.size(-1))
    by_weight = (neighbour_scores(query, maps, window) * weights).sum()
    by_query = (neighbour_sums(weights, maps, window) * query).sum()
    by_key = (neighbour_spread(weights, query, window, size) * maps).sum()
    assert_close(by_weight, by_query)
    assert_close(by_weight, by_key)


def test_taps_inside_by_hand() -> None:
    window = Window((3, 3), (2, 1))
    found = taps_inside((3, 2), (1, 1), (2, 2), window, torch.device('cpu'))
    # Windows start at rows -1 and 1 and at columns -1 and 0 of three rows, two columns.
    rows = torch.tensor([[False, True], [True, True], [True, False]])
    columns = torch.tensor([[False, True], [True, True], [True, False]])
    expected = rows[:, None, :, None] & columns[None, :, None, :]
    # Rows 1, 2, 3 of the second window: the last is outside. So are columns -1 and 2.
    assert_close(found, expected)


def test_products_of_half_precision_do_not_overflow() -> None:
    window, query, maps, _ = draw((3, 3), (1, 1), (1, 1), (2, 2))
    query, maps = (300 * query).half(), (300 * maps).half()
    exact = neighbour_scores(query.double(), maps.double(), window)
    assert exact.abs().max() > torch.finfo(torch.float16).max
    assert_close(neighbour_scores(query, maps, window), exact.float())


def test_scores_of_half_precision_are_single() -> None:
    window, query, maps, weights = draw((3, 3), (1, 1), (1, 1), (2, 2))
    query, maps = query.bfloat16(), maps.bfloat16()
    assert neighbour_scores(query, maps, window).dtype == torch.float32
    sums = neighbour_sums(weights.float(), maps, window)
    assert sums.dtype == torch.bfloat16
    exact = room.neighbour_sums(weights, maps.double(), window)
    # Rounded once, at the end.
    assert_close(sums, exact.bfloat16(), rtol=2**-7, atol=1e-6)
