"""The names a checkpoint may mention beyond the tensors that torch allows by itself.

A pickle is a program: every name in it is something that the reader will call. Each
name here is either a plain container or a stand-in that takes only the arguments which
honest checkpoints hold, so that allowing it allows nothing else.

A part of `checkpoints`, which says what ails; delete it together with that.
"""

import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler import param_scheduler

# NumPy's shared dtype objects. Their __setstate__ does nothing, so a file cannot give
# them flags or sizes that make NumPy read foreign memory; no objects, no strings.
_CODES = ['b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8']
_DTYPES = {code: np.dtype(code) for code in [*_CODES, 'c16']}


class RestoredHistoryBuffer(HistoryBuffer):
    """Stands in for `HistoryBuffer` while a file is read, then becomes one."""

    def __setstate__(self, state: dict) -> None:
        """Restore the history, but not the methods: they belong to the class."""
        super().__setstate__(
            {k: v for k, v in state.items() if k != 'statistics_methods'}
        )
        # The next checkpoint must name mmengine's class, not this one.
        self.__class__ = HistoryBuffer


class OneCycle:
    """Stands in for the owner of OneCycle's annealing functions; can do nothing."""


# Pickle writes a class's functions as getattr(class, name). These are all that
# mmengine's checkpoints hold: the log's statistics and the annealing of OneCycle.
_FUNCTIONS = [
    (RestoredHistoryBuffer, name, getattr(HistoryBuffer, name))
    for name in ('min', 'max', 'current', 'mean')
] + [
    (OneCycle, name, getattr(param_scheduler.OneCycleParamScheduler, name))
    for name in ('_annealing_cos', '_annealing_linear')
]


def _known_function(owner: Any, name: Any) -> Callable:
    """Stand in for `getattr`."""
    for known_owner, known_name, function in _FUNCTIONS:
        if owner is known_owner and name == known_name:
            return function
    described = getattr(owner, '__name__', type(owner).__name__)
    raise pickle.UnpicklingError(
        f'GLOBAL builtins.getattr({described}, {name!r}) is refused'
    )


def _number_dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    """Stand in for `numpy.dtype`: numbers only."""
    if isinstance(code, str) and code in _DTYPES:
        return _DTYPES[code]
    raise pickle.UnpicklingError(f'GLOBAL numpy.dtype({code!r}) is refused')


def _array_type(*_: Any) -> None:
    """Stand in for `numpy.ndarray`, to be mentioned but not called.

    The real one lays an array of objects over any bytes: pointers of the file's choice.
    """
    raise pickle.UnpicklingError('GLOBAL numpy.ndarray(...) is refused')


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """Stand in for NumPy's `_reconstruct`; shape, dtype and content follow."""
    if kind is _array_type:
        return np.empty(0, 'i1')
    raise pickle.UnpicklingError(f'GLOBAL numpy._reconstruct({kind!r}) is refused')


def _no_bytes() -> bytes:
    """Stand in for `bytes`, by which pickle writes the content of an empty array."""
    return b''


@cache
def allowed_globals() -> list[Callable | tuple[Callable, str]]:
    """Return the pairs (what to call, the name in the file) for `add_safe_globals`."""
    rebuild_number: Any = np.float64(0).__reduce__()[0]
    allowed: list[Callable | tuple[Callable, str]] = [
        (RestoredHistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_known_function, 'builtins.getattr'),
        (OneCycle, f'{param_scheduler.__name__}.OneCycleParamScheduler'),
        (_no_bytes, 'builtins.bytes'),
        (ConfigDict, 'mmengine.config.config.ConfigDict'),
        (_array_type, 'numpy.ndarray'),
        (_number_dtype, 'numpy.dtype'),
    ]
    # The module was renamed in NumPy 2; a file from either loads under either.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((_empty_array, f'{module}._reconstruct'))
        allowed.append((rebuild_number, f'{module}.scalar'))
    # Torch restores the state of these types only. A name in a file ends with its line:
    # no file can ask for what is listed behind a line break.
    for kind in [np.ndarray, *map(type, _DTYPES.values())]:
        allowed.append((kind, f'\n{kind.__name__}'))
    return allowed
