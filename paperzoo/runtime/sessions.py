"""Runtimes behind one call: arrays by name in, arrays by name out."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.runtime.card import KEY, Card, read_card
from paperzoo.runtime.sample import OUTPUTS

PIP = {
    'onnxruntime': "pip install 'paperzoo[runtime]'",
    'openvino': "pip install 'paperzoo[export]'",
    'onnx': "pip install 'paperzoo[export]'",
    'onnxscript': "pip install 'paperzoo[export]'",
}
# A protobuf is at most 2 GiB; larger models keep weights in other files, which are not
# looked for.
_LARGEST = (1 << 31) - 1
# From 1.29 on onnxruntime sends names and hashes of models to its makers, and keeps a
# number of the machine for it, unless this is set before it is imported; 0 allows it.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')


class Port(NamedTuple):
    """An input or an output of a file.

    Attributes:
        name: Its name.
        shape: Its sides; a text or None where they are free.
    """

    name: str
    shape: tuple[int | str | None, ...]


class Session(NamedTuple):
    """A file that is ready to run.

    Attributes:
        file: Its name, for messages.
        card: What it says of itself.
        inputs: What goes in.
        outputs: What comes out.
        run: Takes arrays by name, gives arrays by name.
    """

    file: str
    card: Card
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[[Mapping[str, NDArray]], dict[str, NDArray]]


def need(package: str) -> Any:
    """Return an optional package, or say how to install it.

    Args:
        package: Its name.

    Raises:
        UserError: If it is not installed.

    Example:
        >>> from paperzoo.runtime.sessions import need
        >>> need('numpy').__name__
        'numpy'
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] != package:
            raise
        remedy = PIP.get(package, f'pip install {package}')
        raise UserError(f'{package} is not installed: {remedy}') from error


def open_session(file: str | os.PathLike, threads: int | None = None) -> Session:
    """Return an exported file, ready to run.

    Nothing in the file is executed but its operators, and no other file that it names
    is opened.

    Args:
        file: `.onnx` (onnxruntime) or `.xml` with its `.bin` (OpenVINO).
        threads: How many to compute with; by default what the runtime finds best.

    Raises:
        UserError: If the file is not there, damaged, or not of `paperzoo export`, or
            its runtime is not installed.

    Example:
        >>> from paperzoo.runtime.sessions import open_session
        >>> open_session('no_such.onnx')
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'no_such.onnx': there is no such file
    """
    path = Path(os.path.expanduser(file))
    if not path.is_file():
        raise UserError(f"'{file}': there is no such file")
    if path.stat().st_size > _LARGEST:
        raise UserError(f"'{file}' has {path.stat().st_size} bytes: more than 2 GiB")
    opened = _onnx if path.suffix.lower() == '.onnx' else _openvino
    session = opened(path, threads)
    if session.card.task in OUTPUTS:
        _compare(session)
    return session


def _compare(session: Session) -> None:
    """Refuse a file of images whose card says other inputs than it has."""
    shapes = {port.name: port.shape for port in session.inputs}
    names = ('images', 'image_size', 'result_size')
    if set(names) != set(shapes):
        raise UserError(
            f"'{session.file}': its inputs are {', '.join(shapes)[:200]}, not "
            f'{", ".join(names)}: export it again'
        )
    shape, card = shapes['images'], session.card
    sides = (None, None) if card.size is None else card.size[::-1]
    wanted = (card.batch, 3, *sides)
    fits = len(shape) == 4 and all(
        (isinstance(there, int) and there == one)
        if one is not None
        else not isinstance(there, int)
        for there, one in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise UserError(
            f"'{session.file}': its input 'images' is {shape}, its metadata says "
            f'{wanted}: export it again'
        )


def _onnx(path: Path, threads: int | None) -> Session:
    runtime = need('onnxruntime')
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        # Of bytes, not of the file: what is named in it beside it is not read.
        session = runtime.InferenceSession(
            path.read_bytes(), options, providers=['CPUExecutionProvider']
        )
    except Exception as error:  # Anything: onnxruntime's classes are private.
        raise _unreadable(path, error) from error
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        try:
            found = session.run(names, dict(inputs))
        except Exception as error:
            raise _failed(path, error) from error
        return dict(zip(names, found, strict=True))

    ports = [
        tuple(Port(one.name, tuple(one.shape)) for one in side)
        for side in (session.get_inputs(), session.get_outputs())
    ]
    return Session(str(path), read_card(text, str(path)), ports[0], ports[1], run)


def _openvino(path: Path, threads: int | None) -> Session:
    openvino = need('openvino')
    core = openvino.Core()
    try:
        network = core.read_model(path)
        text = network.get_rt_info([KEY]).value if network.has_rt_info([KEY]) else None
        # Latency, single precision: the numbers of the other formats.
        config: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': 'f32',
        }
        if threads:
            config['INFERENCE_NUM_THREADS'] = threads
        compiled = core.compile_model(network, 'CPU', config)
    except Exception as error:
        raise _unreadable(path, error) from error
    names = [one.get_any_name() for one in compiled.outputs]

    def run(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        try:
            found = compiled(dict(inputs))
        except Exception as error:
            raise _failed(path, error) from error
        return {
            name: np.array(found[one])
            for name, one in zip(names, compiled.outputs, strict=True)
        }

    ports = [
        tuple(Port(one.get_any_name(), _free(one.get_partial_shape())) for one in side)
        for side in (network.inputs, network.outputs)
    ]
    return Session(str(path), read_card(text, str(path)), ports[0], ports[1], run)


def _free(shape: Any) -> tuple[int | None, ...]:
    return tuple(side.get_length() if side.is_static else None for side in shape)


def _unreadable(path: Path, error: Exception) -> UserError:
    first = ' '.join(str(error).split())[:300]
    return UserError(f"'{path}' is damaged, or no model that can run here: {first}")


def _failed(path: Path, error: Exception) -> UserError:
    first = ' '.join(str(error).split())[:300]
    return UserError(f"'{path}' could not take this input: {first}")
