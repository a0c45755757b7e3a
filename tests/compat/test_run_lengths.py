"""Masks that do not fit their run lengths are refused; each here crashed or read on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as stock

import paperzoo.compat  # noqa: F401
from paperzoo.compat.run_lengths import check_run_lengths
from paperzoo.errors import UserError

GOOD = stock.encode(np.asfortranarray(np.random.default_rng(0).random((30, 40)) > 0.5))
HEAD = GOOD['counts'][:3]
BAD: list[Any] = [
    {'size': [30, 40], 'counts': HEAD},  # ended the process in iou
    {'size': [30, 40], 'counts': b''},
    {'size': [30, 40], 'counts': ''},
    {'size': [20, 20], 'counts': GOOD['counts']},
    {'size': [200_000, 200_000], 'counts': GOOD['counts']},  # ended it in decode
    {'size': [-30, 40], 'counts': GOOD['counts']},
    {'size': [20, 20], 'counts': b'\xff\xff\xff\xff'},
    {'size': [20, 20], 'counts': b'ooooooooooooo0'},
    {'size': [20, 20], 'counts': b'o'},
    {'size': [20, 20], 'counts': 'é'},
    {'size': [20, 20], 'counts': None},
    {'size': [20], 'counts': GOOD['counts']},
    {'size': ['20', '20'], 'counts': GOOD['counts']},
    {'size': None, 'counts': GOOD['counts']},
    {'counts': GOOD['counts']},
    {'size': [20, 20]},
]


@pytest.mark.parametrize('bad', BAD)
def test_run_lengths_that_do_not_fit(bad: Any) -> None:
    for function in (
        lambda: stock.decode(bad),
        lambda: stock.decode([GOOD, bad]),
        lambda: stock.area(bad),
        lambda: stock.toBbox([bad]),
        lambda: stock.iou([bad], [GOOD], [0]),
        lambda: stock.iou([GOOD], [bad], [0]),
        lambda: stock.merge([GOOD, bad]),
    ):
        with pytest.raises(UserError, match='Correct it'):
            function()


@pytest.mark.parametrize(
    'bad',
    [
        {'size': [30, 40], 'counts': [5, 3]},  # read foreign memory in decode
        {'size': [3, 4], 'counts': [5, 1195]},
        {'size': [30, 40], 'counts': [-5, 1205]},
        {'size': [30, 40], 'counts': [0.5, 1199.5]},
        {'size': [30, 40], 'counts': [2**62, 2**62, 2**62, 2**62]},
        {'size': [30, 40], 'counts': 'text'},
        [[0, 0, 1e9, 0, 1e9, 1e9]],  # ended the process
        [[0, 0, float('nan'), 0, 5, 5]],
        [[0, 0, float('inf'), 0, 5, 5]],
        [[0, 0, 1e9, 1e9]],
        [0, 0, 1e9, 0, 1e9, 1e9],
        np.array([[0, 0, 1e9, 1e9]]),
    ],
)
def test_objects_that_do_not_fit(bad: Any) -> None:
    with pytest.raises(UserError, match='Correct it'):
        stock.frPyObjects(bad, 30, 40)


@pytest.mark.parametrize('size', [(-3, 40), (10**6, 10**6)])
def test_sizes_of_objects(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match='cannot be read'):
        stock.frPyObjects([[0, 0, 5, 0, 5, 5]], *size)


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=60))
)
def test_what_is_encoded_fits(mask: np.ndarray) -> None:
    code = stock.encode(np.asfortranarray(mask, np.uint8))
    np.testing.assert_array_equal(stock.decode(code), mask)
    text = {'size': code['size'], 'counts': code['counts'].decode()}
    np.testing.assert_array_equal(stock.decode(text), mask)


@given(st.binary(max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_random_text_ends_in_no_other_error(text: bytes, high: int, wide: int) -> None:
    mask = {'size': [high, wide], 'counts': text}
    try:
        check_run_lengths(mask)
    except UserError:
        return
    stock.decode(mask)


def test_long_runs_and_honest_objects() -> None:
    large = np.zeros((3000, 4000), np.uint8, 'F')
    large[10:2000, 5:3990] = 1
    assert (stock.decode(stock.encode(large)) == large).all()
    for objects in (
        [[0, 0, 5, 0, 5, 5]],
        [[-100.0, 0, 5, 0, 1e5, 5, 3, 3]],
        {'size': [30, 40], 'counts': [5, 3, 1192]},
        [{'size': [30, 40], 'counts': [0, 1200]}],
        np.tile([0.0, 0, 20, 20], (20_000, 1)),
    ):
        stock.frPyObjects(objects, 30, 40)
    assert stock.iou(np.ones((1, 4)), np.ones((1, 4)), [0]).tolist() == [[1.0]]
    assert stock.merge([]) is not None
