"""Pickles of arrays come as they were written; nothing in a pickle is run."""

import os
import pickle
import pickletools
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paperzoo.errors import UserError
from paperzoo.utils.plain_pickle import load_plain


def loaded(tmp_path: Path, data: bytes) -> Any:
    (tmp_path / 'file.pkl').write_bytes(data)
    return load_plain(tmp_path / 'file.pkl')


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('dtype', ['uint8', '<i8', '>i4', 'float32', 'bool', '<U3'])
def test_arrays_come_as_they_were_written(
    tmp_path: Path, protocol: int, order: Any, dtype: str
) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype).copy(order=order)
    found = loaded(tmp_path, pickle.dumps({'data': array}, protocol))
    np.testing.assert_array_equal(found['data'], array)
    assert found['data'].dtype == array.dtype


@given(
    hnp.arrays(
        st.sampled_from(['u1', 'i8', 'f4', '?']),
        hnp.array_shapes(max_dims=3, min_side=0),
    ),
    st.integers(0, 5),
)
def test_any_array(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, protocol: int
) -> None:
    folder = tmp_path_factory.mktemp('any')
    found = loaded(folder, pickle.dumps([array], protocol))[0]
    np.testing.assert_array_equal(found, array)


def test_containers_and_scalars(tmp_path: Path) -> None:
    value = {
        'catname2label': {'a': 0, 'b': 1},
        'labels': [np.int64(3), 4, np.float32(0.5)],
        'keys': (b'x', 'y', None, {1, 2}, frozenset({3})),
        'objects': np.array([np.arange(2), 'text'], dtype=object),
    }
    found = loaded(tmp_path, pickle.dumps(value, 4))
    assert found['catname2label'] == value['catname2label']
    assert found['labels'] == [3, 4, 0.5]
    assert found['keys'] == value['keys']
    np.testing.assert_array_equal(found['objects'][0], np.arange(2))


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """There an array's content is text of one byte a character."""
    written = pickle.dumps(np.array([1, 200, 0, 255], np.uint8), 2)
    # Protocol 2 of Python 3 calls _codecs.encode where Python 2 writes a string.
    ops = [op for op, _, _ in pickletools.genops(written)]
    assert any(op.name == 'BINUNICODE' for op in ops)
    old = (
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85'
        b'U\x01b\x87R(K\x01K\x04\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03'
        b'U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\xc8\x00\xfftb.'
    )
    for data in (written, old):
        np.testing.assert_array_equal(loaded(tmp_path, data), [1, 200, 0, 255])


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.answer = (function, arguments)

    def __reduce__(self) -> Any:
        return self.answer


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / 'was_run'
    data = pickle.dumps({'data': Call(os.mkdir, str(mark))}, protocol)
    pickle.loads(data)
    assert mark.exists()  # with the ordinary reader it does harm
    mark.rmdir()
    with pytest.raises(UserError, match=r'mkdir.*not read') as error:
        loaded(tmp_path, data)
    assert str(tmp_path / 'file.pkl') in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    'hostile',
    [
        Call(eval, '1'),
        Call(getattr, [], 'append'),
        Call(np.ndarray, (2,), 'u1'),
        Call(np.load, 'x.npy'),
        Call(np.dtype, [('a', 'u1')]),
        Call(np.dtype, 'V8'),
        Path('x'),
    ],
)
def test_everything_else_is_refused(tmp_path: Path, hostile: Any) -> None:
    with pytest.raises(UserError):
        loaded(tmp_path, pickle.dumps(hostile))


def test_no_attribute_leads_out_of_what_is_allowed(tmp_path: Path) -> None:
    """Protocol 4 may name `a.b.c` of a module."""
    data = b'\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclasses\x93.'
    with pytest.raises(UserError, match='ndarray'):
        loaded(tmp_path, data)


@given(st.binary(max_size=60))
def test_random_bytes_end_in_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp('random')
    with suppress(UserError):
        loaded(folder, data)


def test_damaged_file(tmp_path: Path) -> None:
    whole = pickle.dumps({'data': np.zeros(1000, np.uint8)})
    with pytest.raises(UserError, match='damaged'):
        loaded(tmp_path, whole[:-500])


def laughs(kind: Any, depth: int) -> Any:
    value: Any = kind(['ha'])
    for _ in range(depth):
        value = kind([value] * 10)
    return value


@pytest.mark.parametrize('kind', [list, tuple])
def test_a_billion_laughs_end(tmp_path: Path, kind: Any) -> None:
    data = pickle.dumps({'labels': laughs(kind, 40)}, 4)
    assert len(data) < 2000
    with pytest.raises(UserError, match='hold one another over and over'):
        loaded(tmp_path, data)


def test_what_is_reached_twice_stays_one(tmp_path: Path) -> None:
    once = laughs(list, 3)
    found = loaded(tmp_path, pickle.dumps([once, once], 4))
    assert found == [once, once]
    assert found[0] is found[1]
    assert found[0][0] is found[1][1]


@pytest.mark.parametrize('wrap', [lambda x: {x: 1}, lambda x: {x}, lambda x: {1, x}])
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_keys_that_take_for_ever(tmp_path: Path, wrap: Any, protocol: int) -> None:
    """Two levels are soon hashed; forty would take longer than the universe is old."""
    shallow = pickle.dumps(wrap(laughs(tuple, 2)), protocol)
    with pytest.raises(UserError, match='a key or member'):
        loaded(tmp_path, shallow)


@pytest.mark.parametrize('name', ['set', 'frozenset', 'dict'])
def test_neither_by_a_call(tmp_path: Path, name: str) -> None:
    item = (laughs(tuple, 2), 1) if name == 'dict' else laughs(tuple, 2)
    call = b'cbuiltins\n' + name.encode() + b'\n' + pickle.dumps(([item],), 2)[2:-1]
    with pytest.raises(UserError, match='a key or member'):
        loaded(tmp_path, call + b'R.')


def test_a_container_in_itself(tmp_path: Path) -> None:
    value: list = []
    value.append(value)
    with pytest.raises(UserError, match='holds itself'):
        loaded(tmp_path, pickle.dumps(value))


@pytest.mark.parametrize('name', [b'numpy\ndtype', b'_codecs\nencode'])
def test_nothing_is_written_into_functions_and_classes(
    tmp_path: Path, name: bytes
) -> None:
    # (None, {'__doc__': 'x'}) is set attribute by attribute.
    state = pickle.dumps((None, {'__doc__': 'changed'}), 2)[2:-1]
    with pytest.raises(UserError, match='a state of'):
        loaded(tmp_path, b'c' + name + b'\n' + state + b'b.')


def test_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', Path('/dev/zero'), tmp_path):
        with pytest.raises(UserError, match='is no regular file'):
            load_plain(path)
