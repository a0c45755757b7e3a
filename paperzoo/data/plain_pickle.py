"""Reads pickles of arrays and plain containers without running anything in them.

A pickle is a program: it may name any function and have it called. Here it can name
nothing but the few things that arrays and containers are written with, and what it
gets for them are the stand-ins of this file; no NumPy object is made by the pickle.

Checkpoints are read by another mechanism, torch's own (`torch.load` with
`weights_only=True`): it reads their tensors, but not what Python 2 or pickle's newer
protocols wrote, in which few-shot sets are shipped.
"""

import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.errors import UserError

_DTYPE = re.compile(r'[|<>=]?(b1|[iu][1248]|f[248]|S\d+|U\d+|O8?|bool)')


class _RefusedError(Exception):
    """The pickle asks for what it does not get."""


class _DType:
    """What stands for `numpy.dtype`: the name of a plain type and its byte order."""

    def __init__(self, name: str, *_: object) -> None:
        if not (isinstance(name, str) and _DTYPE.fullmatch(name)):
            raise _RefusedError(f'an array of the type {name!r}')
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        # (version, byte order, ...): what else there is belongs to structured types.
        order = state[1]
        if order in ('<', '>') and self.name[0] not in '|<>=':
            self.name = order + self.name

    @property
    def real(self) -> np.dtype:
        return np.dtype(self.name)


class _Array:
    """What stands for `numpy.ndarray`, filled by the state that follows."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _build(data, dtype, shape, 'F' if fortran else 'C')


def _build(data: Any, dtype: _DType, shape: Iterable[int], order: str) -> Any:
    if dtype.name.lstrip('|<>=').startswith('O'):
        # Objects are what the pickle holds anyway: they stay the list that they are.
        return list(data)
    if isinstance(data, str):  # what Python 2 wrote
        data = data.encode('latin1')
    flat = np.frombuffer(data, dtype=dtype.real)
    return flat.reshape(tuple(shape), order='F' if order == 'F' else 'C')


class _NoCall:
    """What stands for the class `numpy.ndarray`, which is only ever named."""

    def __init__(self, *_: object) -> None:
        raise _RefusedError('a call of numpy.ndarray')


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: _DType, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.value = _build(data, dtype, shape, order)
    return array


def _scalar(dtype: _DType, data: Any) -> Any:
    data = data.encode('latin1') if isinstance(data, str) else data
    return np.frombuffer(data, dtype=dtype.real, count=1)[0].item()


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    if encoding != 'latin1':
        raise _RefusedError(f'text in the encoding {encoding!r}')
    return text.encode('latin1')


def _empty_bytes() -> bytes:
    return b''


_ALLOWED: dict[tuple[str, str], Callable] = {
    ('numpy', 'dtype'): _DType,
    ('numpy', 'ndarray'): _NoCall,
    ('_codecs', 'encode'): _encode,
    ('collections', 'OrderedDict'): dict,
}
for _core in ('numpy.core', 'numpy._core'):
    _ALLOWED |= {
        (f'{_core}.multiarray', '_reconstruct'): _reconstruct,
        (f'{_core}.multiarray', 'scalar'): _scalar,
        (f'{_core}.numeric', '_frombuffer'): _from_buffer,
    }
for _builtins in ('builtins', '__builtin__'):
    _ALLOWED |= {
        (_builtins, kind.__name__): kind for kind in (set, frozenset, list, dict, tuple)
    } | {(_builtins, 'bytes'): _empty_bytes}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f'{module}.{name}') from None


def load_plain(path: Path) -> Any:
    """Return what a pickle holds: arrays, numbers, texts and containers of these.

    Arrays may be read-only views of the file's content; arrays of objects come as
    lists.

    Args:
        path: The pickle, written by Python 2 or 3.

    Raises:
        UserError: If the file is damaged, or asks for anything else; nothing of that is
            run.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, 'x.pkl')
        ...     _ = path.write_bytes(pickle.dumps({'labels': np.array([1, 2])}))
        ...     load_plain(path)
        {'labels': array([1, 2])}
    """
    try:
        with path.open('rb') as file:
            return _plain(_PlainUnpickler(file, encoding='latin1').load())
    except _RefusedError as error:
        raise UserError(
            f'{path} holds more than arrays and plain containers: {error}. It was not '
            'read, for a pickle may run any program. If you trust it, write its '
            "images into folders, one a class, and use layout='folders'"
        ) from error
    except OSError:
        raise
    except Exception as error:
        # Random bytes can ask for anything: huge sizes, states of the wrong type, ...
        raise UserError(
            f'{path} is damaged or no pickle ({error!r}). Fetch it again'
        ) from error


def _plain(value: Any) -> Any:
    """Return a value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return _plain(value.value) if isinstance(value.value, list) else value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(entry) for entry in value)
    return value
