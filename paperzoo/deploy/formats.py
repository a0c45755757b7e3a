"""A graph as a file of ONNX, of torch.export or of OpenVINO."""

import contextlib
import functools
import io
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from paperzoo.deploy.graph import Graph
from paperzoo.errors import UserError
from paperzoo.runtime.card import KEY, Card
from paperzoo.runtime.sessions import Session, need, open_session
from paperzoo.utils.files import write_safely

OPSET = 20


def program(graph: Graph) -> torch.export.ExportedProgram:
    """Return a graph as torch.export has it.

    Args:
        graph: The graph.

    Raises:
        UserError: If torch.export cannot leave free what should be.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.formats import program
        >>> from paperzoo.deploy.graph import Graph
        >>> given, free = {'x': torch.ones(2)}, {'x': None}
        >>> made = program(Graph(torch.nn.ReLU(), 'sequence', given, free, ('y',)))
        >>> made.module()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    # Here and not behind `except`: it would be looked up there for Ctrl-C, too.
    from torch._dynamo.exc import UserError as ExportError

    with quiet():
        try:
            return torch.export.export(
                graph.module,
                tuple(graph.inputs.values()),
                dynamic_shapes=tuple(graph.free.values()),
                strict=False,
                # What the sizes of maps have to do with each other is left to the run.
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        except ExportError as error:
            first = ' '.join(str(error).split())[:600]
            raise UserError(f'torch.export cannot write this model: {first}') from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch's exporters print, log and warn of, from the user.

    Example:
        >>> from paperzoo.deploy.formats import quiet
        >>> with quiet():
        ...     print('not seen')
    """
    loggers = [logging.getLogger(name) for name in ('torch', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter('ignore')
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def check_packages(kind: str) -> None:
    """Refuse a format whose packages are not installed, before any work.

    Args:
        kind: One of `paperzoo.runtime.card.FORMATS`.

    Raises:
        UserError: If a package is missing; the message has the command.

    Example:
        >>> from paperzoo.deploy.formats import check_packages
        >>> check_packages('torch')
    """
    needed = {
        'torch': (),
        'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
        'openvino': ('onnx', 'onnxscript', 'openvino'),
    }
    for package in needed[kind]:
        need(package)


def write(
    graph: Graph, card: Card, file: Path, kind: str, *, compiled: bool = False
) -> Path:
    """Write a graph and its card.

    Args:
        graph: The graph.
        card: What the file says of itself.
        file: Where to write; of OpenVINO the `.xml`, beside which the `.bin` goes.
        kind: One of `paperzoo.runtime.card.FORMATS`.
        compiled: Write machine code for this processor (AOTInductor); of torch only.

    Raises:
        UserError: If the file cannot be written, or not with the free sides asked for.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.deploy.formats import write
        >>> from paperzoo.deploy.graph import Graph
        >>> from paperzoo.runtime.card import Card
        >>> given, free = {'x': torch.ones(2)}, {'x': None}
        >>> graph = Graph(torch.nn.ReLU(), 'sequence', given, free, ('y',))
        >>> card = Card(task='sequence', model='ReLU', classes=())
        >>> with TemporaryDirectory() as folder:
        ...     write(graph, card, Path(folder, 'a.pt2'), 'torch').exists()
        True
    """
    made = program(graph)
    if compiled:
        return _compiled(made, card, file)
    if kind == 'torch':
        extra = {KEY: card.to_json()}

        def save(stream: Any) -> None:
            torch.export.save(made, stream, extra_files=extra)

        return write_safely(file, save)
    model = _onnx(made, graph, card)
    if kind == 'onnx':
        data = model.SerializeToString()
        return write_safely(file, lambda stream: stream.write(data))
    return _openvino(model, card, file)


def check_compiler() -> None:
    """Refuse to compile where there is no compiler, before any work.

    Raises:
        UserError: If there is none.

    Example:
        >>> from paperzoo.deploy.formats import check_compiler
        >>> try:
        ...     check_compiler()
        ... except UserError as error:
        ...     assert 'C++ compiler' in str(error)
    """
    usual = 'clang++' if sys.platform == 'darwin' else 'g++'
    wanted = os.environ.get('CXX', usual)  # where torch looks, and nowhere else
    if not shutil.which(wanted):
        raise UserError(
            f"--compile: the C++ compiler '{wanted}' is not here. Install it (such as: "
            'apt install g++), name another one in $CXX, or export without --compile'
        )


def _compiled(made: torch.export.ExportedProgram, card: Card, file: Path) -> Path:
    with TemporaryDirectory() as folder:
        target = Path(folder, 'model.pt2')
        try:
            with quiet():
                torch._inductor.aoti_compile_and_package(
                    made,
                    package_path=str(target),
                    inductor_configs={'aot_inductor.metadata': {KEY: card.to_json()}},
                )
        except Exception as error:  # Anything: of the compiler, too.
            first = ' '.join(str(error).split())[:600]
            raise UserError(f'this model cannot be compiled: {first}') from error
        with target.open('rb') as stream:
            return write_safely(file, lambda out: shutil.copyfileobj(stream, out))


def _onnx(made: torch.export.ExportedProgram, graph: Graph, card: Card) -> Any:
    from paperzoo.deploy.suppression import onnx_translations

    with quiet():
        written = torch.onnx.export(
            made,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            custom_translation_table=onnx_translations(),
        )
    assert written is not None
    model = written.model_proto
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=card.to_json())
    compare_dimensions(model, graph)
    return model


def compare_dimensions(model: Any, graph: Graph) -> None:
    """Refuse a file whose free sides are not those that were asked for.

    The exporter writes a fixed side without a word where the model's code has made one.

    Args:
        model: As onnx has it.
        graph: With the sides that should be free.

    Raises:
        UserError: If a side is fixed or free that should not be, or an input is lost.

    Example:
        >>> from onnx import ModelProto
        >>> from paperzoo.deploy.formats import compare_dimensions
        >>> from paperzoo.deploy.graph import Graph
        >>> compare_dimensions(ModelProto(), Graph(None, 'sequence', {}, {}, ()))
    """
    for port in model.graph.input:
        found = {
            number
            for number, side in enumerate(port.type.tensor_type.shape.dim)
            if not side.HasField('dim_value')
        }
        wanted = set(graph.free[port.name] or {})
        if found != wanted:
            raise UserError(
                f"the file's input '{port.name}' has the free sides {sorted(found)}, "
                f'asked for were {sorted(wanted)}: this model fixes them; export '
                'without --dynamic'
            )
    missing = set(graph.inputs) - {port.name for port in model.graph.input}
    if missing:
        raise UserError(f'the file has lost its inputs {sorted(missing)}')


def _openvino(model: Any, card: Card, file: Path) -> Path:
    import openvino

    with TemporaryDirectory() as folder:
        source, target = Path(folder, 'model.onnx'), Path(folder, file.name)
        source.write_bytes(model.SerializeToString())
        try:
            converted = openvino.convert_model(source)
        except Exception as error:  # Anything: its classes are private.
            first = ' '.join(str(error).split())[-300:]
            raise UserError(
                f'OpenVINO cannot read this model ({first}): --format onnx'
            ) from error
        converted.set_rt_info(card.to_json(), [KEY])
        # Weights in single precision: smaller ones change the results.
        openvino.save_model(converted, target, compress_to_fp16=False)
        weights = target.with_suffix('.bin')
        with weights.open('rb') as stream:
            write_safely(
                file.with_suffix('.bin'),
                lambda out: shutil.copyfileobj(stream, out),
            )
        text = target.read_bytes()
    return write_safely(file, lambda stream: stream.write(text))


def session_of(file: Path, kind: str, card: Card, *, compiled: bool = False) -> Session:
    """Return a file that this process has written, ready to run.

    torch reads parts of a `.pt2` by pickle: none from elsewhere is opened.

    Args:
        file: The file.
        kind: Its format.
        card: What it says of itself.
        compiled: Whether it holds machine code, which is run.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.deploy.formats import session_of
        >>> from paperzoo.runtime.card import Card
        >>> card = Card(task='detection', model='FCOS', classes=())
        >>> session_of(Path('no_such.onnx'), 'onnx', card)
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'no_such.onnx': there is no such file
    """
    if kind != 'torch':
        return open_session(file)
    if compiled:
        with quiet():
            module: Any = torch._inductor.aoti_load_package(str(file))
    else:
        # Opened here: torch takes no name that is no UTF-8.
        with quiet(), file.open('rb') as stream:
            module = torch.export.load(stream).module()

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        with torch.inference_mode():
            found = module(*map(torch.from_numpy, inputs.values()))
        return {name: value.numpy() for name, value in found.items()}

    return Session(str(file), card, (), (), run)


def publish(folder: Path, target: Path) -> None:
    """Copy the files of a folder into another one, each whole or not at all.

    Args:
        folder: Where they are.
        target: Where they go.

    Raises:
        UserError: If one cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.deploy.formats import publish
        >>> with TemporaryDirectory() as one, TemporaryDirectory() as other:
        ...     _ = Path(one, 'a.onnx').write_bytes(b'x')
        ...     publish(Path(one), Path(other))
        ...     Path(other, 'a.onnx').read_bytes()
        b'x'
    """
    # OpenVINO's weights come before the file that names them.
    for file in sorted(folder.iterdir()):
        with file.open('rb') as stream:
            write_safely(
                target / file.name, functools.partial(shutil.copyfileobj, stream)
            )
