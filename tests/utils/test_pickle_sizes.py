"""Containers that never end when they are read out are seen before they are read."""

import io
import pickle
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.utils.pickle_sizes import MOST_DEPTH, is_boundless


def doubled(kind: Any, times: int) -> Any:
    value: Any = kind(())
    for _ in range(times):
        value = kind((value, value))
    return value


def boundless(value: Any) -> bool:
    return is_boundless(io.BytesIO(pickle.dumps(value, protocol=2)))


@pytest.mark.parametrize('kind', [tuple, list], ids=['tuples', 'lists'])
def test_what_doubles_is_boundless(kind: Any) -> None:
    assert not boundless(doubled(kind, 20))
    assert boundless(doubled(kind, 40))


def test_also_where_a_call_takes_it() -> None:
    class Call:
        def __reduce__(self) -> tuple:
            return OrderedDict, ([(doubled(tuple, 40), 1)],)

    assert boundless(Call())


def test_many_keys_that_are_one_large_tuple() -> None:
    # Each is bounded; hashed so often they are not. A dict would hold them once only.
    key = b'(' + b'K\x01' * 100_000 + b'tq\x00'
    many = b'\x80\x02' + key + b'}(' + b'h\x00K\x01' * 1000 + b'u.'
    assert is_boundless(io.BytesIO(many))
    few = b'\x80\x02' + key + b'}(' + b'h\x00K\x01' * 10 + b'u.'
    assert not is_boundless(io.BytesIO(few))


def test_a_list_that_grows_after_it_was_put_into_the_arguments() -> None:
    key = b'(' + b'K\x01' * 100_000 + b'tq\x00'
    pair = b'h\x00K\x01\x86'  # (key, 1)
    arguments = b']q\x01\x85q\x02'  # ([],)
    growth = b'h\x01(' + pair * 1000 + b'e'
    call = b'ccollections\nOrderedDict\nh\x02R'
    assert is_boundless(
        io.BytesIO(b'\x80\x02' + key + arguments + growth + call + b'.')
    )


def test_deep_tuples_and_lists() -> None:
    tuples = b')' + b'\x85' * (MOST_DEPTH + 10) + b'.'
    assert is_boundless(io.BytesIO(b'\x80\x02' + tuples))
    nested = b']' * (MOST_DEPTH + 10) + b'a' * (MOST_DEPTH + 9) + b'.'
    assert is_boundless(io.BytesIO(b'\x80\x02' + nested))
    nested = b']' * 100 + b'a' * 99 + b'.'
    assert not is_boundless(io.BytesIO(b'\x80\x02' + nested))


def test_a_list_in_itself_ends() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert not boundless(value)


def test_nor_does_it_hide_what_else_is_in_it() -> None:
    key = tuple(range(100_000))
    value: list[Any] = [(key, 1)] * 300
    value.append([value])
    # As an argument it counts, as what is put in, and as what is there at last.
    assert boundless([value] * 2)
    assert not boundless([value[:-1]])


def test_the_second_of_two_pickles() -> None:
    both = pickle.dumps(1, 2) + pickle.dumps(doubled(tuple, 40), 2)
    assert not is_boundless(io.BytesIO(both))
    assert is_boundless(io.BytesIO(both), 2)


def test_what_comes_before_damage_counts() -> None:
    whole = pickle.dumps(doubled(tuple, 40), 2)
    assert is_boundless(io.BytesIO(whole[:-1] + b'\xff'))
    assert not is_boundless(io.BytesIO(b'\xff' + whole))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text() | st.tuples(LEAVES, LEAVES), inner)
        ),
    )
)
def test_honest_values_are_bounded(value: Any) -> None:
    assert not boundless(value)


@given(st.binary())
def test_random_bytes_end_in_no_error(data: bytes) -> None:
    assert not is_boundless(io.BytesIO(data))
