"""The gate: what the page asks goes through, nothing else does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paperzoo.serve.gate import Gate

HOSTS = frozenset({'localhost', '127.0.0.1', '::1'})
OWN = {'host': '127.0.0.1:7860'}


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'ok'})


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.png').touch()
    (tmp_path / 'out.txt').touch()
    (tmp_path / 'in' / 'link').symlink_to(tmp_path / 'out.txt')
    return Gate(app, tmp_path / 'in', 2**20, HOSTS)


@pytest.mark.parametrize(
    'path',
    [
        '/',
        '/config',
        '/theme.css',
        '/assets/index-Ab_9.js',
        '/static/js/iframeResizer.contentWindow.min.js',
        '/gradio_api/queue/data',
        '/gradio_api/heartbeat/abc123',
        '/gradio_api/upload_progress',
    ],
)
def test_the_page_is_readable(gate: Gate, path: str) -> None:
    assert gate.refusal('GET', path, OWN) is None


@pytest.mark.parametrize(
    'path',
    [
        '/docs',
        '/openapi.json',
        '/monitoring',
        '/assets/../../etc/passwd',
        '/static//etc/../passwd',
        '/custom_component/1/client/component/a',
        '/gradio_api/proxy=http://example.org/',
        '/gradio_api/file=http://example.org/',
        '/gradio_api/file=https:/example.org/',
        '/gradio_api/file=/etc/passwd',
        '/gradio_api/file=',
        '/gradio_api/file=\0',
        '/gradio_api/file/etc/passwd',
        '/gradio_api/vibe-code',
        '/gradio_api/run-history/buckets',
        '/file=/etc/passwd',
    ],
)
def test_nothing_else_is(gate: Gate, path: str) -> None:
    assert gate.refusal('GET', path, OWN) == (404, 'there is no such page')


def test_only_files_of_the_folder_are_given_out(gate: Gate, tmp_path: Path) -> None:
    def status(name: str) -> int:
        path = f'/gradio_api/file={tmp_path}/{name}'
        return (gate.refusal('GET', path, OWN) or (200, ''))[0]

    assert status('in/a.png') == 200
    for name in ('out.txt', 'in/../out.txt', 'in/link', 'in2/a.png'):
        assert status(name) == 404


def test_only_the_page_itself_may_send(gate: Gate) -> None:
    def status(path: str, method: str = 'POST', **more: str) -> int:
        headers = {**OWN, 'content-length': '10', **more}
        return (gate.refusal(method, path, headers) or (200, ''))[0]

    for path in ('upload', 'queue/join', 'cancel'):
        assert status(f'/gradio_api/{path}') == 200
        assert status(f'/gradio_api/{path}', origin='http://127.0.0.1:7860') == 200
        for origin in ('null', 'https://example.org', 'http://127.0.0.1:1'):
            assert status(f'/gradio_api/{path}', origin=origin) == 403
    for path in ('run/predict', 'call/look', 'process_recording', 'vibe-edit'):
        assert status(f'/gradio_api/{path}') == 404
    assert status('/gradio_api/upload', 'PUT') == 404
    assert status('/gradio_api/upload', 'OPTIONS') == 404
    assert status('/gradio_api/upload', **{'content-length': str(2**21)}) == 413
    assert status('/gradio_api/queue/join', **{'content-length': str(2**20)}) == 413
    # In pieces it is as long as one likes, whatever else is said of the length.
    assert status('/gradio_api/queue/join', **{'transfer-encoding': 'chunked'}) == 411
    for length in ('', '-1', 'many'):  # of unknown length: as long as one likes
        assert status('/gradio_api/upload', **{'content-length': length}) == 411


@pytest.mark.parametrize(
    ('host', 'passes'),
    [
        ('localhost', True),
        ('LOCALHOST:80', True),
        ('[::1]:7860', True),
        ('127.0.0.1', True),
        ('example.org:7860', False),
        ('127.0.0.1.example.org', False),
        ('', False),
    ],
)
def test_names_that_lead_here(
    gate: Gate, tmp_path: Path, host: str, passes: bool
) -> None:
    refusal = gate.refusal('GET', '/', {'host': host})
    assert (refusal is None) == passes
    if not passes:
        assert refusal[0] == 421
    assert Gate(app, tmp_path, 1).refusal('GET', '/', {'host': host}) is None


def answered(folder: Path, **scope: Any) -> list[dict]:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {}

    asyncio.run(Gate(app, folder, 1)({'headers': [], **scope}, receive, send))
    return sent


def test_headers_and_what_is_no_http(tmp_path: Path) -> None:
    start, body = answered(tmp_path, type='http', method='GET', path='/')
    headers = {key.decode(): value.decode() for key, value in start['headers']}
    assert headers['x-content-type-options'] == 'nosniff'
    assert "default-src 'self'" in headers['content-security-policy']
    assert 'http' not in headers['content-security-policy']
    assert body['body'] == b'ok'
    start, _ = answered(tmp_path, type='http', method='GET', path='/docs')
    assert start['status'] == 404
    (closed,) = answered(tmp_path, type='websocket')
    assert closed['type'] == 'websocket.close'
