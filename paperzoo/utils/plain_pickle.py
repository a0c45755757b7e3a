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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.errors import UserError
from paperzoo.utils.files import refuse_irregular

_DTYPE = re.compile(r'[|<>=]?(b1|[iu][1248]|f[248]|S\d+|U\d+|O8?|bool)')
# Lists that hold one another grow without bound when they are read out: so many
# values has no honest file, counted as often as they are reached.
_MOST_VALUES = 200_000_000
_KEYS = (str, bytes, int, float, bool, type(None))


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


def _set(items: list = []) -> set:  # noqa: B006 (it is only read)
    return {_key(item) for item in items}


def _frozenset(items: list = []) -> frozenset:  # noqa: B006 (it is only read)
    return frozenset(_set(items))


def _dict(pairs: list = []) -> dict:  # noqa: B006 (it is only read)
    return {_key(key): value for key, value in pairs}


def _key(value: Any) -> Any:
    """Refuse what takes for ever to be hashed, or overflows the stack: deep tuples."""
    if isinstance(value, _KEYS):
        return value
    if isinstance(value, tuple) and all(isinstance(one, _KEYS) for one in value):
        return value
    raise _RefusedError(f'a key or member of the type {type(value).__name__}')


_ALLOWED: dict[tuple[str, str], Callable] = {
    ('numpy', 'dtype'): _DType,
    ('numpy', 'ndarray'): _NoCall,
    ('_codecs', 'encode'): _encode,
    ('collections', 'OrderedDict'): _dict,
}
for _core in ('numpy.core', 'numpy._core'):
    _ALLOWED |= {
        (f'{_core}.multiarray', '_reconstruct'): _reconstruct,
        (f'{_core}.multiarray', 'scalar'): _scalar,
        (f'{_core}.numeric', '_frombuffer'): _from_buffer,
    }
for _builtins in ('builtins', '__builtin__'):
    _ALLOWED |= {
        (_builtins, 'set'): _set,
        (_builtins, 'frozenset'): _frozenset,
        (_builtins, 'dict'): _dict,
        (_builtins, 'list'): list,
        (_builtins, 'tuple'): tuple,
        (_builtins, 'bytes'): _empty_bytes,
    }


# The one that is written in Python: its steps can be checked, other than those in C.
_Unpickler: Any = pickle._Unpickler


class _PlainUnpickler(_Unpickler):
    dispatch = dict(_Unpickler.dispatch)

    def __init__(self, file: Any, more: Mapping[tuple[str, str], Callable]) -> None:
        super().__init__(file, encoding='latin1')
        self._allowed = {**_ALLOWED, **more}
        self._filled = (
            _DType,
            _Array,
            *(kind for kind in more.values() if isinstance(kind, type)),
        )

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise _RefusedError(f'{module}.{name}') from None

    def load_build(self) -> None:
        # Else a state would be written into functions and classes of this file.
        if not isinstance(self.stack[-2], self._filled):
            raise _RefusedError(f'a state of {type(self.stack[-2]).__name__}')
        super().load_build()

    def load_setitem(self) -> None:
        _key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _key(key)
        super().load_setitems()

    def load_dict(self) -> None:
        for key in self.stack[::2]:
            _key(key)
        super().load_dict()

    def load_additems(self) -> None:
        for item in self.stack:
            _key(item)
        super().load_additems()

    def load_frozenset(self) -> None:
        for item in self.stack:
            _key(item)
        super().load_frozenset()

    for _op, _step in (
        (pickle.BUILD, load_build),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.DICT, load_dict),
        (pickle.ADDITEMS, load_additems),
        (pickle.FROZENSET, load_frozenset),
    ):
        dispatch[_op[0]] = _step


def load_plain(path: Path) -> Any:
    """Return what a pickle holds: arrays, numbers, texts and containers of these.

    Arrays may be read-only views of the file's content; arrays of objects come as
    lists.

    Args:
        path: The pickle, written by Python 2 or 3.

    Raises:
        UserError: If `path` is no file, is damaged, or asks for anything else; nothing
            of that is run.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, 'x.pkl')
        ...     _ = path.write_bytes(pickle.dumps({'labels': np.array([1, 2])}))
        ...     load_plain(path)
        {'labels': array([1, 2])}
    """
    refuse_irregular(path)
    with path.open('rb') as file:
        return plain_pickle(
            file,
            str(path),
            "write its images into folders, one a class, and use layout='folders'",
        )


def plain_pickle(
    file: Any,
    name: str,
    remedy: str,
    more: Mapping[tuple[str, str], Callable] | None = None,
) -> Any:
    """Return what an open pickle holds: arrays and plain containers.

    Args:
        file: The pickle, written by Python 2 or 3.
        name: What it is called, for messages.
        remedy: What one does who trusts it, for the message.
        more: What else it may name, by module and name. Objects of classes in it get
            their state, and become what their method `plain` returns. It is given the
            function that puts arrays in place of their stand-ins.

    Raises:
        UserError: If the pickle is damaged, or asks for anything else; nothing of that
            is run.

    Example:
        >>> import io, os
        >>> from paperzoo.utils.plain_pickle import plain_pickle
        >>> plain_pickle(io.BytesIO(pickle.dumps([1, 2])), 'x.pkl', 'write JSON')
        [1, 2]
        >>> plain_pickle(io.BytesIO(pickle.dumps(os.system)), 'x.pkl', 'write JSON')
        Traceback (most recent call last):
        paperzoo.errors.UserError: x.pkl holds more than arrays and plain ...
    """
    try:
        return _Reader().plain(_PlainUnpickler(file, more or {}).load())
    except _RefusedError as error:
        raise UserError(
            f'{name} holds more than arrays and plain containers: {error}. It was not '
            f'read, for a pickle may run any program. If you trust it, {remedy}'
        ) from error
    except OSError:
        raise
    except Exception as error:
        # Random bytes can ask for anything: huge sizes, states of the wrong type, ...
        raise UserError(
            f'{name} is damaged or no pickle ({error!r}). Fetch it again'
        ) from error


class _Reader:
    """Puts arrays in place of their stand-ins; what is reached twice stays one."""

    def __init__(self) -> None:
        # By identity: the value, which keeps it alive, its plain form and its size.
        self.done: dict[int, tuple[Any, Any, int]] = {}
        self.size = 0

    def plain(self, value: Any) -> Any:
        """Return a value with arrays in place of their stand-ins."""
        self.size += 1
        if isinstance(value, _Array):
            found = value.value
            return self.plain(found) if isinstance(found, list) else found
        if not (isinstance(value, dict | list | tuple) or hasattr(value, 'plain')):
            return value
        if id(value) in self.done:
            _, made, size = self.done[id(value)]
            if made is None:
                raise _RefusedError('a container that holds itself')
            self.size += size
        else:
            self.done[id(value)] = (value, None, 0)
            before = self.size
            made = self._container(value)
            self.done[id(value)] = (value, made, self.size - before)
        if self.size > _MOST_VALUES:
            raise _RefusedError('lists that hold one another over and over')
        return made

    def _container(self, value: Any) -> Any:
        if hasattr(value, 'plain'):
            return value.plain(self.plain)
        if isinstance(value, dict):
            return {key: self.plain(entry) for key, entry in value.items()}
        return type(value)(self.plain(entry) for entry in value)
