"""What the server lets through: the page, uploads, and the page's own files.

Gradio answers more than the page asks: it fetches addresses for whoever asks, and reads
a folder below the working directory. Here all that is not asked for is not there.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FILE = '/gradio_api/file='
_READ = re.compile(
    r'/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json'
    r'|/(?:assets|static)/[\w./-]+'
    r'|/gradio_api/(?:info/?|app_id/?|theme\.css|upload_progress|queue/data'
    r'|heartbeat/\w+)'
)
_WRITTEN = re.compile(r'/gradio_api/(?:upload|queue/join|cancel|reset/?)')
# Of questions: a file's name and a number.
_SMALL = 2**16
# Nothing of another server, in the page or in what it shows.
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "object-src 'none'; frame-ancestors 'none'"
    ),
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class Gate:
    """Stands before an ASGI application and refuses what the page never asks.

    Args:
        app: The application.
        folder: The only folder of which files are given out.
        most_bytes: Of an upload.
        hosts: Names under which the page may be asked for; None for any. Other pages
            could otherwise ask under a name of theirs that leads to this machine.
    """

    def __init__(
        self,
        app: App,
        folder: Path,
        most_bytes: int,
        hosts: frozenset[str] | None = None,
    ) -> None:
        self.app = app
        self.folder = folder.resolve()
        self.most_bytes = most_bytes
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':
            await send({'type': 'websocket.close', 'code': 1008})
            return
        headers = {
            key.decode('latin-1'): value.decode('latin-1')
            for key, value in scope['headers']
        }
        refusal = self.refusal(scope['method'], scope['path'], headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                more = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, 'headers': [*message['headers'], *more]}
            await send(message)

        await self.app(scope, receive, guarded)

    def refusal(
        self, method: str, path: str, headers: dict[str, str]
    ) -> tuple[int, str] | None:
        """Return status and reason for what is not let through, or None.

        Args:
            method: Of HTTP.
            path: Decoded, without the query.
            headers: By lower-case name.
        """
        host = headers.get('host', '')
        name = re.sub(r':\d+$', '', host).strip('[]').lower()
        if self.hosts is not None and name not in self.hosts:
            return 421, f'this page is not at {name}: see paperzoo serve --host'
        if method in ('GET', 'HEAD'):
            return None if self._readable(path) else (404, 'there is no such page')
        origin = headers.get('origin')
        if origin is not None and origin.partition('://')[2] != host:
            return 403, 'only the page itself may send'
        if method != 'POST' or not _WRITTEN.fullmatch(path):
            return 404, 'there is no such page'
        # Of the two lengths that of the pieces would count, which nobody knows.
        if 'transfer-encoding' in headers:
            return 411, 'say the length'
        return self._oversized(path, headers.get('content-length', ''))

    def _readable(self, path: str) -> bool:
        if not path.startswith(_FILE):
            return _READ.fullmatch(path) is not None and '..' not in path
        try:
            file = Path(path.removeprefix(_FILE)).resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        return file.is_relative_to(self.folder)

    def _oversized(self, path: str, length: str) -> tuple[int, str] | None:
        if not length.isdecimal():
            return 411, 'say the length'
        # An upload comes with some lines around it.
        upload = path.endswith('/upload')
        if int(length) > _SMALL + (self.most_bytes if upload else 0):
            return 413, f'more than {self.most_bytes / 2**20:g} MB'
        return None


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b'content-type', b'text/plain; charset=utf-8')]
    headers.append((b'connection', b'close'))
    start = {'type': 'http.response.start', 'status': status, 'headers': headers}
    await send(start)
    await send({'type': 'http.response.body', 'body': text.encode()})
