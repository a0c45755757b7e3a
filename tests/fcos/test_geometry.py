"""Locations, distances to the edges, centre-ness."""

import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from references import fcos as reference
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.fcos import geometry

# A whole number may stand where a float is asked for, as everywhere in Python.
typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
box_areas, centerness, decode_ltrb, encode_ltrb, level_points = (
    jaxtyped(typechecker=typecheck)(function)
    for function in (
        geometry.box_areas,
        geometry.centerness,
        geometry.decode_ltrb,
        geometry.encode_ltrb,
        geometry.level_points,
    )
)
NUMBERS = st.integers(-500, 500)
SIDES = st.tuples(*[st.floats(0.01, 1e3)] * 4)


def test_points_by_hand() -> None:
    expected = torch.tensor(
        [[4.0, 8.0], [12.0, 8.0], [20.0, 8.0], [4.0, 24.0], [12.0, 24.0], [20.0, 24.0]]
    )
    assert_close(level_points((2, 3), (8, 16)), expected)


def test_points_are_those_of_mmdet() -> None:
    sizes, strides = [(10, 13), (5, 7), (1, 1)], [8, (16, 12), 128]
    theirs = MlvlPointGenerator(strides).grid_priors(sizes, device='cpu')
    pairs = [(8, 8), (16, 12), (128, 128)]
    ours = [level_points(size, pair) for size, pair in zip(sizes, pairs, strict=True)]
    assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.paper('fcos Eq. 1')
def test_distances_by_hand() -> None:
    point = torch.tensor([10.0, 20.0])
    box = torch.tensor([4.0, 5.0, 30.0, 50.0])
    assert_close(encode_ltrb(point, box), torch.tensor([6.0, 15.0, 20.0, 30.0]))


@pytest.mark.paper('fcos Eq. 1')
@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[NUMBERS] * 6), max_size=5))
def test_distances_equal_the_loop_and_go_back(rows: list[tuple[int, ...]]) -> None:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    points, boxes = table[:, :2], table[:, 2:]
    ltrb = encode_ltrb(points, boxes)
    expected = [reference.distances(row[:2], row[2:]) for row in rows]
    assert_close(ltrb, torch.tensor(expected, dtype=torch.float32).reshape(-1, 4))
    assert_close(decode_ltrb(points, ltrb), boxes, rtol=0, atol=0)


@pytest.mark.paper('fcos Eq. 3')
def test_centerness_by_hand() -> None:
    ltrb = torch.tensor([[1.0, 2, 3, 4], [5, 5, 5, 5], [1, 8, 16, 2]])
    # 1/3 * 2/4 = 1/6; all equal; 1/16 * 2/8 = 1/64
    assert_close(centerness(ltrb), torch.tensor([6**-0.5, 1.0, 1 / 8]))


@pytest.mark.paper('fcos Eq. 3')
@settings(max_examples=100, deadline=None)
@given(SIDES, st.floats(0.01, 100))
def test_centerness_laws(sides: tuple[float, ...], factor: float) -> None:
    left, top, right, bottom = sides
    ltrb = torch.tensor(sides, dtype=torch.float64)
    value = centerness(ltrb)
    assert_close(value.item(), reference.centerness(*sides))
    assert 0 < value <= 1
    assert_close(centerness(ltrb * factor), value)
    for other in ((right, top, left, bottom), (top, left, bottom, right)):
        assert_close(centerness(torch.tensor(other, dtype=torch.float64)), value)


def test_areas_by_hand() -> None:
    boxes = torch.tensor([[10.0, 20, 15, 23], [4, 4, 4, 9]])
    assert_close(box_areas(boxes), torch.tensor([15.0, 0]))
    assert_close(box_areas(boxes, 'authors'), torch.tensor([24.0, 6]))


def test_gradients() -> None:
    torch.manual_seed(0)
    points = torch.randn(5, 2, dtype=torch.float64).requires_grad_()
    boxes = torch.randn(5, 4, dtype=torch.float64).requires_grad_()
    sides = (torch.rand(5, 4, dtype=torch.float64) + 0.5).requires_grad_()
    assert gradcheck(encode_ltrb, (points, boxes))
    assert gradcheck(decode_ltrb, (points, sides))
    assert gradcheck(centerness, (sides,))
