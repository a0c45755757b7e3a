import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import mmcv_ops as reference
from torch import Tensor

from paperzoo.ops.sampling import bilinear_corners, gather_rows, scatter_rows


def test_corners_by_hand():
    inside, edge, outside = [1.25, 0.5], [-0.5, 2.0], [-1.0, 1.0]
    positions, size = torch.tensor([inside, edge, outside]), torch.tensor([3, 3])
    pixels, weights = bilinear_corners(positions, size)
    expected = [[0.375, 0.375, 0.125, 0.125], [0, 0, 0.5, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert pixels[0].tolist() == [3, 4, 6, 7]
    assert pixels[1, 2].item() == 2


coordinates = st.floats(-3, 7) | st.integers(-2, 6).map(float)


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_corners_read_the_image_between_its_pixels(places, height, width):
    image = torch.arange(height * width, dtype=torch.double).reshape(height, width) + 1
    positions = torch.tensor(places, dtype=torch.double)
    pixels, weights = bilinear_corners(positions, torch.tensor([height, width]))
    samples = gather_rows(image.reshape(-1, 1), pixels, weights).squeeze(1)
    expected = [reference.bilinear(image, y, x) for y, x in places]
    torch.testing.assert_close(samples, torch.tensor(expected, dtype=torch.double))


def test_each_sample_may_have_an_image_size_of_its_own():
    positions = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    size = torch.tensor([[[3, 5]], [[1, 4]]])
    pixels, weights = bilinear_corners(positions, size)
    assert pixels[0, 0, 0].item() == 5
    assert weights.sum(-1).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e30])
def test_a_position_that_is_not_finite_has_neither_weight_nor_gradient(value):
    positions = torch.tensor([[value, 1.0], [0.5, 0.5]], requires_grad=True)
    pixels, weights = bilinear_corners(positions, torch.tensor([3, 3]))
    assert weights[0].tolist() == [0, 0, 0, 0]
    assert pixels.min() >= 0
    assert pixels.max() < 9
    (grad,) = torch.autograd.grad((weights * torch.arange(4)).sum(), positions)
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0.0], [2.0, 1.0]]))


@st.composite
def tables(draw) -> tuple[Tensor, Tensor, Tensor, int]:
    samples, parts, rows = (draw(st.integers(1, 5)) for _ in range(3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    index = torch.randint(rows, (samples, parts), generator=generator)
    weights = torch.randn(samples, parts, generator=generator, dtype=torch.double)
    values = torch.randn(samples, 3, generator=generator, dtype=torch.double)
    return values, index, weights, rows


@given(tables())
@settings(max_examples=60, deadline=None)
def test_scattering_is_the_transpose_of_gathering(case):
    values, index, weights, rows = case
    matrix = torch.zeros(len(index), rows, dtype=torch.double)
    matrix.scatter_add_(1, index, weights)
    table = torch.arange(rows * 3, dtype=torch.double).reshape(rows, 3)
    torch.testing.assert_close(gather_rows(table, index, weights), matrix @ table)
    torch.testing.assert_close(
        scatter_rows(values, index, weights, rows), matrix.T @ values
    )


def test_a_row_in_no_sample_gets_zero():
    index = torch.tensor([[1, 1], [3, 1]])
    weights = torch.tensor([[1.0, 2.0], [4.0, 0.5]])
    found = scatter_rows(torch.tensor([[1.0], [10.0]]), index, weights, 5)
    torch.testing.assert_close(found, torch.tensor([[0.0], [8], [0], [40], [0]]))
