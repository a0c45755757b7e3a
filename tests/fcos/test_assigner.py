"""Which box each location learns."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
from references import fcos as reference
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from paperzoo.errors import UserError
from paperzoo.fcos import FCOSRangeAssigner, level_points

STRIDES = [(8.0, 8.0), (16.0, 12.0), (32.0, 32.0)]
SIZES = [(12, 16), (8, 8), (3, 4)]
RANGES = [(-1, 32), (32, 64), (64, 1e8)]
POINTS = [level_points(*level) for level in zip(SIZES, STRIDES, strict=True)]
LOOP_POINTS = [[tuple(point) for point in level.tolist()] for level in POINTS]
COORDINATE = st.integers(0, 128).map(float)
BOX = st.tuples(*[COORDINATE] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
# Boxes that are nothing, or turned inside out, must never be learnt.
ANY_BOX = st.one_of(BOX, BOX, st.tuples(*[COORDINATE] * 4))
BOXES = st.lists(ANY_BOX, max_size=6)
RADIUS = st.sampled_from([None, 1.0, 1.5])
AMBIGUITY = st.sampled_from(['area', 'nearest'])


def boxes_of(rows: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def sampling(radius: float | None) -> dict[str, Any]:
    if radius is None:
        return {}
    return {'center_sampling': True, 'center_sample_radius': radius}


def assign(
    boxes: Tensor,
    points: list[Tensor] = POINTS,
    sizes: list[tuple[int, int]] | None = None,
    **options: Any,
) -> Tensor:
    ranges = options.pop('regress_ranges', RANGES)
    strides = options.pop('strides', STRIDES)
    return FCOSRangeAssigner(ranges, **options).assign(points, strides, boxes, sizes)


def at(x: float, y: float) -> list[Tensor]:
    """The same point on each of the three levels."""
    return [torch.tensor([[float(x), float(y)]])] * 3


@pytest.mark.paper('fcos "Multi-level Prediction with FPN"')
def test_ranges_include_both_ends() -> None:
    # The largest distance is exactly 32, then exactly 64, then a little more.
    for half, levels in ((32.0, [1, 1, 0]), (64.0, [0, 1, 1]), (64.5, [0, 0, 1])):
        for box in (
            (100 - half, 90, 100 + half, 110),
            (90, 100 - half, 110, 100 + half),
        ):
            assert assign(boxes_of([box]), at(100, 100)).tolist() == levels


@pytest.mark.paper('fcos "Fully Convolutional One-Stage Object Detector"')
def test_the_smallest_box_wins_and_the_first_of_equals() -> None:
    boxes = boxes_of([(0, 0, 30, 30), (5, 5, 25, 25), (6, 4, 26, 24)])
    assert assign(boxes, at(15, 15))[0] == 2
    assert assign(boxes[[0, 2, 1]], at(15, 15))[0] == 2
    assert assign(boxes, at(27, 27))[0] == 1


def test_the_nearest_centre_wins_then_the_smallest_then_the_first() -> None:
    # Centres at x = 20, 30 and 30; the second is larger than the third.
    boxes = boxes_of([(5, 5, 35, 35), (8, 8, 52, 32), (10, 10, 50, 30)])
    nearest = {'ambiguity': 'nearest', 'regress_ranges': [(-1, 1e8)] * 3}
    assert assign(boxes, at(24, 20), **nearest)[0] == 1
    assert assign(boxes, at(26, 20), **nearest)[0] == 3
    assert assign(boxes, at(25, 20), **nearest)[0] == 3  # as near; smaller: 800 < 900
    assert assign(boxes[[1, 1, 0]], at(27, 20), **nearest)[0] == 1
    assert assign(boxes, at(26, 9), **nearest)[0] == 2
    assert assign(boxes, at(24, 20), regress_ranges=[(-1, 1e8)] * 3)[0] == 3


def test_the_authors_area_counts_the_last_pixel() -> None:
    # w h: 30 x 10 = 300 > 17 x 17 = 289; with one more pixel 31 x 11 = 341 against
    # 18 x 18 = 324; but 40 x 7 = 280 < 289 becomes 41 x 8 = 328 > 324.
    boxes = boxes_of([(0, 10, 40, 17), (11, 5, 28, 22)])
    wide = {'regress_ranges': [(-1, 1e8)] * 3}
    assert assign(boxes, at(20, 13), **wide)[0] == 1
    assert assign(boxes, at(20, 13), area_convention='authors', **wide)[0] == 2


def test_a_point_on_an_edge_is_outside() -> None:
    box = boxes_of([(10, 10, 30, 30)])
    for x, y, inside in ((10, 20, 0), (30, 20, 0), (20, 10, 0), (20, 30, 0)):
        assert assign(box, at(x, y))[0] == inside
    assert assign(box, at(10.5, 29.5))[0] == 1


def test_centre_sampling_by_hand() -> None:
    # Centre (15, 15), radius 1.5 strides: 12 on the first level, 24 on the second.
    box = boxes_of([(-30, -30, 60, 60)])
    strides = [(8, 8), (16, 16), (32, 32)]
    options = {
        'center_sampling': True,
        'regress_ranges': [(-1, 1e8)] * 3,
        'strides': strides,
    }
    assert assign(box, at(26.5, 15), **options).tolist() == [1, 1, 1]
    assert assign(box, at(27, 15), **options).tolist() == [0, 1, 1]
    assert assign(box, at(15, 40), **options).tolist() == [0, 0, 1]
    options['center_sample_radius'] = 2.0
    assert assign(box, at(27, 15), **options).tolist() == [1, 1, 1]
    assert assign(boxes_of([(10, 10, 20, 20)]), at(21, 15), **options).sum() == 0


@settings(max_examples=60, deadline=None)
@given(BOXES, RADIUS, AMBIGUITY, st.sampled_from(['mmdet', 'authors']))
def test_equals_the_loop(
    rows: list[tuple], radius: float | None, ambiguity: str, convention: str
) -> None:
    extra = 1 if convention == 'authors' else 0
    expected = reference.assign(
        LOOP_POINTS, STRIDES, RANGES, rows, radius, ambiguity, extra
    )
    options = {
        **sampling(radius),
        'ambiguity': ambiguity,
        'area_convention': convention,
    }
    for dtype in (torch.float32, torch.float64):
        found = assign(
            boxes_of(rows).to(dtype),
            [level.to(dtype) for level in POINTS],
            SIZES,
            **options,
        )
        assert found.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(BOXES, RADIUS)
def test_candidates_equal_the_loop(rows: list[tuple], radius: float | None) -> None:
    found = FCOSRangeAssigner(RANGES, **sampling(radius)).candidates(
        POINTS, STRIDES, boxes_of(rows), SIZES
    )
    expected = reference.candidates(LOOP_POINTS, STRIDES, RANGES, rows, radius)
    assert found.shape == (sum(map(len, POINTS)), len(rows))
    assert found.tolist() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), RADIUS, AMBIGUITY, st.integers(0, 2**31))
def test_points_need_not_be_a_grid(
    count: int, radius: float | None, ambiguity: str, seed: int
) -> None:
    options = {**sampling(radius), 'ambiguity': ambiguity}
    boxes = random_boxes(count, seed)
    on_grid = assign(boxes, sizes=SIZES, **options)
    assert_close(assign(boxes, **options), on_grid, rtol=0, atol=0)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(level), generator=generator) for level in POINTS]
    levels = zip(POINTS, orders, strict=True)
    shuffled = assign(boxes, [level[order] for level, order in levels], **options)
    parts = zip(on_grid.split([len(level) for level in POINTS]), orders, strict=True)
    expected = torch.cat([part[order] for part, order in parts])
    assert_close(shuffled, expected, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(BOX, max_size=8, unique_by=reference.area), RADIUS, st.randoms(), AMBIGUITY
)
def test_permuting_boxes_permutes_the_answer(
    rows: list[tuple], radius: float | None, random: Any, ambiguity: str
) -> None:
    # With distinct areas nothing depends on which box is the first.
    order = list(range(len(rows)))
    random.shuffle(order)
    options = {**sampling(radius), 'ambiguity': ambiguity}
    before = assign(boxes_of(rows), **options)
    after = assign(boxes_of([rows[number] for number in order]), **options)
    back = torch.tensor([0, *(number + 1 for number in order)])
    assert_close(back[after], before, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(BOX, max_size=6), BOX)
def test_a_larger_box_takes_background_only(rows: list[tuple], extra: tuple) -> None:
    before = assign(boxes_of(rows))
    largest = max((reference.area(row) for row in rows), default=0.0)
    after = assign(boxes_of([*rows, extra]))
    if reference.area(extra) >= largest:
        kept = before > 0
        assert_close(after[kept], before[kept], rtol=0, atol=0)
    assert not ((before > 0) & (after == 0)).any()


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = torch.rand(count, 2, generator=generator) * 128
    half = torch.rand(count, 2, generator=generator) * 40
    # Rounded: some areas are equal, some edges go through points.
    return torch.cat((middle - half, middle + half), dim=1).round()


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, Tensor):
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return made


def test_memory_is_one_bit_per_point_and_box() -> None:
    size = (100, 152)
    points, boxes = [level_points(size, (8, 8))], random_boxes(500, seed=0)
    once = FCOSRangeAssigner([(-1, 1e8)])
    with LargestTensor() as largest:
        once.assign(points, [(8, 8)], boxes, [size])
    words = 500 // 63 + 1
    assert largest.bytes == 8 * words * len(points[0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(BOXES, st.just([])), min_size=1, max_size=4),
    st.sampled_from([0, 62, 63, 130]),
    RADIUS,
    AMBIGUITY,
)
def test_a_batch_is_its_images(
    batch: list[list[tuple]], more: int, radius: float | None, ambiguity: str
) -> None:
    """However many boxes each has: none, a few, or more than a word has bits."""
    gts = [boxes_of(rows) for rows in batch]
    gts[0] = torch.cat((gts[0], random_boxes(more, seed=more)))
    ours = FCOSRangeAssigner(RANGES, ambiguity=ambiguity, **sampling(radius))
    found = ours.assign_batch(POINTS, STRIDES, gts)
    one_by_one = [ours.assign(POINTS, STRIDES, boxes) for boxes in gts]
    assert_close(found, torch.stack(one_by_one), rtol=0, atol=0)


def test_memory_of_a_batch_is_that_of_its_fullest_image_for_each() -> None:
    size = (100, 152)
    points = [level_points(size, (8, 8))]
    boxes = [random_boxes(count, seed=0) for count in (70, 0, 3)]
    with LargestTensor() as largest:
        FCOSRangeAssigner([(-1, 1e8)]).assign_batch(points, [(8, 8)], boxes, [size])
    words = 70 // 63 + 1
    assert largest.bytes == 3 * 8 * words * len(points[0])


@pytest.mark.parametrize('ambiguity', ['area', 'nearest'])
@pytest.mark.parametrize('sizes', [None, SIZES], ids=['free', 'grid'])
def test_no_value_is_looked_at(ambiguity: str, sizes: list | None) -> None:
    # Tensors on `meta` have no values: any look at them, which would make a GPU wait,
    # raises.
    boxes = random_boxes(100, seed=0).to('meta')
    points = [level.to('meta') for level in POINTS]
    found = assign(boxes, points, sizes, center_sampling=True, ambiguity=ambiguity)
    assert found.shape == (sum(map(len, POINTS)),)
    assert found.device.type == 'meta'


@pytest.mark.parametrize(('ambiguity', 'sizes'), [('area', SIZES), ('nearest', None)])
def test_it_compiles_as_one_graph(ambiguity: str, sizes: list | None) -> None:
    torch.compiler.reset()
    ours = FCOSRangeAssigner(RANGES, center_sampling=True, ambiguity=ambiguity)
    compiled = torch.compile(ours.assign, fullgraph=True, backend='eager')
    for count in (0, 1, 70):
        boxes = random_boxes(count, seed=count)
        found = compiled(POINTS, STRIDES, boxes, sizes)
        expected = ours.assign(POINTS, STRIDES, boxes, SIZES)
        assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'regress_ranges': RANGES[:2]}, r'regress_ranges has 2 levels, the head 3'),
        ({'sizes': [(12, 16), (8, 8), (4, 4)]}, r'4 x 4 for a level of 12 points'),
        ({'ambiguity': 'far'}, r"ambiguity='far': use 'area' or 'nearest'"),
        ({'area_convention': 'x'}, r"area_convention='x': use 'mmdet' or 'authors'"),
        ({'regress_ranges': [(0, 8), (9, 2), (2, 3)]}, r'regress_ranges\[1\]=\(9, 2\)'),
        ({'regress_ranges': [(8,), (8, 9)]}, r'regress_ranges\[0\]=\(8,\) must be two'),
        ({'center_sampling': True, 'center_sample_radius': 0}, r'radius=0 leaves no'),
    ],
)
def test_errors_name_the_argument(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign(boxes_of([]), **options)


def test_it_is_registered_for_everyone() -> None:
    config = {'type': 'paperzoo.FCOSRangeAssigner', 'center_sampling': True}
    built = MMDET_TASK_UTILS.build(config)
    assert isinstance(built, FCOSRangeAssigner)
    assert built.center_sampling


def test_a_first_box_centred_on_zero_keeps_its_points() -> None:
    # The authors' and AdelaiDet's centre sampling lose all positives of such an image.
    boxes = boxes_of([(-20, 0, 20, 30), (30, 30, 60, 60)])
    assert set(assign(boxes, center_sampling=True).tolist()) == {0, 1, 2}
