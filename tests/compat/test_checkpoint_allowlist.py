import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from paperzoo.compat import checkpoint_allowlist as allow
from paperzoo.compat import checkpoints


@pytest.fixture(autouse=True)
def _remedy():
    checkpoints.apply()


def _through_a_file(value, path):
    torch.save(value, path)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return tmp_path_factory.mktemp('allow') / 'value.pth'


_ARRAYS = st.sampled_from(list(allow._DTYPES.values())).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))
)


@given(array=_ARRAYS, fortran=st.booleans())
def test_arrays_of_numbers_come_back_as_they_were(array, fortran, path):
    checkpoints.apply()
    array = np.asarray(array, order='F' if fortran else 'C')
    back = _through_a_file(array, path)
    assert type(back) is np.ndarray
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize('code', list(allow._DTYPES))
def test_numbers_come_back_as_they_were(code, path):
    number = np.ones((), code)[()]
    back = _through_a_file(number, path)
    assert type(back) is type(number)
    assert back == number


@pytest.mark.parametrize('code', list(allow._DTYPES))
def test_a_file_cannot_change_a_dtype(code):
    # Flags or a size of its choice would make NumPy read foreign memory.
    dtype = allow._number_dtype(code, False, True)
    before = (
        dtype.byteorder,
        dtype.flags,
        dtype.itemsize,
        dtype.fields,
        dtype.alignment,
    )
    state = 3, '>', None, ('a',), {'a': (dtype, 99)}, 400, 64, 63
    getattr(dtype, '__setstate__')(state)  # noqa: B009  the stubs do not list it
    now = (dtype.byteorder, dtype.flags, dtype.itemsize, dtype.fields, dtype.alignment)
    assert now == before


@pytest.mark.parametrize(
    'array',
    [
        np.array([{}], dtype=object),
        np.array(['text']),
        np.zeros(1, [('x', 'f8')]),
        np.array([0], 'M8[s]'),
    ],
    ids=['object', 'string', 'structure', 'date'],
)
def test_other_arrays_are_refused(array, path):
    torch.save(array, path)
    with pytest.raises(pickle.UnpicklingError, match=r'numpy\.dtype\(.*is refused'):
        torch.load(path, weights_only=True)


class _Call:
    def __init__(self, function, *args):
        self.parts = (function, args)

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(
    'call',
    [
        # An array of objects over eight bytes of the file: a pointer of its choice.
        _Call(np.ndarray, (1,), 'O', bytes(range(8))),
        _Call(np.zeros(0).__reduce__()[0], np.memmap, (0,), b'b'),
        _Call(np.zeros(0).__reduce__()[0], {}, (0,), b'b'),
        _Call(type(np.dtype('f8'))),
    ],
    ids=['over bytes', 'subclass', 'no class', 'dtype class'],
)
def test_arrays_are_made_in_one_way_only(call, path):
    torch.save(call, path)
    with pytest.raises(pickle.UnpicklingError, match=r'is refused|not an allowed'):
        torch.load(path, weights_only=True)


def test_a_history_comes_back_and_names_no_class_of_ours(path):
    history = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])
    back = _through_a_file({'loss': history}, path)['loss']
    assert type(back) is HistoryBuffer
    np.testing.assert_array_equal(back.data, history.data)
    back.update(3.0)
    assert [back.statistics(name) for name in ('min', 'max', 'current', 'mean')] == [
        1.0,
        6.0,
        3.0,
        3.0,
    ]
    torch.save({'loss': back}, path)
    assert not [
        name
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if 'paperzoo' in name
    ]


def test_a_history_without_entries_comes_back(path):
    back = _through_a_file(HistoryBuffer(), path)
    assert [part.size for part in back.data] == [0, 0]


def test_a_file_cannot_replace_the_statistics_of_the_class(path):
    history = HistoryBuffer([1.0], [1])
    history._statistics_methods = {'mean': HistoryBuffer.max, 'new': HistoryBuffer.min}
    _through_a_file(history, path)
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean
    assert 'new' not in HistoryBuffer._statistics_methods


@pytest.mark.parametrize('name', ['_annealing_cos', '_annealing_linear'])
def test_the_annealing_of_one_cycle_comes_back(name, path):
    function = getattr(OneCycleParamScheduler, name)
    assert _through_a_file({'anneal_func': function}, path)['anneal_func'] is function


def test_a_config_comes_back(path):
    config = ConfigDict(classes=('a', 'b'), nested=ConfigDict(x=[1]))
    back = _through_a_file(config, path)
    assert back == config
    assert type(back.nested) is ConfigDict


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (allow.RestoredHistoryBuffer, '__init__'),
        (allow.RestoredHistoryBuffer, 'statistics'),
        (allow.RestoredHistoryBuffer, '__globals__'),
        (HistoryBuffer, 'mean'),
        (allow.OneCycle, 'step'),
        (allow.OneCycle, '__class__'),
        (np.ndarray, 'tofile'),
        (torch.Tensor, '__reduce_ex__'),
        ({}, 'get'),
    ],
)
def test_getattr_gives_nothing_else(owner, name):
    with pytest.raises(pickle.UnpicklingError, match=rf"'{name}'\) is refused"):
        allow._known_function(owner, name)


def test_each_name_is_given_once():
    given: Any = allow.allowed_globals()
    names = [name for _, name in given]
    assert len(names) == len(set(names))
    assert 'numpy.core.multiarray._reconstruct' in names
    assert 'numpy._core.multiarray._reconstruct' in names
