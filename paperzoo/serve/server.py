"""The server of the page: from the port to the end, without a trace on the disk."""

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from paperzoo.apis.image_model import ImageModel
from paperzoo.errors import UserError
from paperzoo.serve.answers import Answers

# Seconds for what is still being answered.
_PATIENCE = 2
_LOCAL = frozenset({'localhost', '127.0.0.1', '::1'})


def check_gradio() -> None:
    """Refuse to go on without Gradio, before a model is loaded.

    Raises:
        UserError: If it is not installed.

    Example:
        >>> from paperzoo.serve.server import check_gradio
        >>> check_gradio()
    """
    if find_spec('gradio') is None:
        raise UserError(
            "the page needs gradio, which is not installed: pip install 'paperzoo[web]'"
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket at an address that nobody else has.

    Args:
        host: Name or address of this machine.
        port: Its number; 0 for a free one.

    Raises:
        UserError: If the port is taken or reserved, or the host is not this machine.

    Example:
        >>> from paperzoo.serve.server import listen
        >>> with listen('127.0.0.1', 0) as taken:
        ...     listen('127.0.0.1', taken.getsockname()[1])
        Traceback (most recent call last):
        paperzoo.errors.UserError: port ... of 127.0.0.1 cannot be used: ...
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(f"--host '{host}' is no address: {error.strerror}") from error
    own = socket.socket(family, kind, protocol)
    # A port is free again at once, not minutes after the last page was closed.
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind(address)
        own.listen()
    except OSError as error:
        own.close()
        raise UserError(
            f'port {port} of {host} cannot be used: {error.strerror}. Name another '
            'one, such as --port 7861, or --port 0 for any that is free'
        ) from error
    return own


def serve(
    model: ImageModel,
    listening: socket.socket,
    *,
    title: str,
    most_mb: float = 20,
    info: Mapping[str, Any] | None = None,
    support: str | None = None,
) -> None:
    """Serve the page until the process is interrupted.

    What is uploaded and written lies in a folder of its own, which is removed.

    Args:
        model: As `paperzoo.load` gives it; a few-shot model knows its classes.
        listening: As `listen` gives it; is closed.
        title: What the model is called on the page.
        most_mb: Of an upload.
        info: What else the files of records say of the model.
        support: Of a few-shot model: what it was fitted to, for its explanations.

    Raises:
        UserError: If Gradio is not installed, or the model cannot look at images.

    Example:
        >>> import paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> from paperzoo.serve.server import listen, serve
        >>> cfg = paperzoo.load_config('attention_tagging')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> serve(model, listen('127.0.0.1', 0), title='no model of images')
        Traceback (most recent call last):
        paperzoo.errors.UserError: ...
    """
    check_gradio()
    with listening, TemporaryDirectory(prefix='paperzoo-serve-') as name:
        folder = Path(name).resolve()
        answers = Answers(model, folder, info, support)
        with _own_settings(folder), _ended_by_signals():
            server = _server(answers, listening, title, most_mb)
            host, port = listening.getsockname()[:2]
            print(
                f'Open in a browser: http://{_shown(host)}:{port} (Ctrl-C ends it)',
                flush=True,
            )
            # Once stopped, uvicorn raises the signal again; that may come too late.
            with suppress(KeyboardInterrupt):
                server.run(sockets=[listening])


def _server(
    answers: Answers, listening: socket.socket, title: str, most_mb: float
) -> Any:
    import fastapi
    import gradio as gr
    import uvicorn

    from paperzoo.serve.gate import Gate
    from paperzoo.serve.page import STYLE, build

    page = build(answers, title, answers.model.score)
    most = int(most_mb * 2**20)
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        page,
        path='/',
        allowed_paths=[],
        css=STYLE,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=most,
        mcp_server=False,
        pwa=False,
        run_history=False,
        ssr_mode=False,
        # The system's own fonts: none is fetched.
        theme=gr.themes.Default(
            font=['system-ui', 'sans-serif'], font_mono=['monospace']
        ),
    )
    gradio_app = app.routes[-1].app
    host = listening.getsockname()[0]
    own = _LOCAL | {host} if ip_address(host).is_loopback else None
    gate = Gate(app, answers.folder, most, own)

    class Server(uvicorn.Server):
        """Ends the pages' heartbeats first, or would wait for every open page."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            gradio_app.stop_event.set()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            gate,
            log_level='error',
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
    )


@contextmanager
def _own_settings(folder: Path) -> Iterator[None]:
    """Let no variable of the user's open the page further, and Gradio ask nobody."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(('GRADIO_', 'OTEL_')):
            del os.environ[name]
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED='False',
        GRADIO_EXAMPLES_CACHE=str(folder / 'examples'),
        GRADIO_TEMP_DIR=str(folder),
        HF_HUB_DISABLE_TELEMETRY='1',
        HF_HUB_OFFLINE='1',
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let `kill` end the server as Ctrl-C does, so that its folder is removed."""

    def end(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shown(host: str) -> str:
    """Return a host as a browser on this machine names it."""
    if host in ('0.0.0.0', '::'):
        print(
            'paperzoo: whoever reaches this machine may use the page', file=sys.stderr
        )
        return 'localhost'
    return f'[{host}]' if ':' in host else host
