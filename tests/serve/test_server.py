"""A real server over loopback: what it gives out, what it refuses, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from bombs import write_bomb
from exported_files import write_detector
from PIL import Image
from served_pages import Served, start

import paperzoo
from paperzoo.errors import UserError
from paperzoo.serve import server as module
from paperzoo.serve.server import check_gradio, listen
from paperzoo.tools import serve

pytest.importorskip('gradio', reason='no gradio here')


def asked(
    url: str, data: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Return status, content and headers of an answer."""
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def upload(url: str, file: Path) -> tuple[int, bytes]:
    """Send a file as the page does."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="'
        + file.name.encode()
        + b'"\r\nContent-Type: image/jpeg\r\n\r\n'
        + file.read_bytes()
        + b'\r\n--b--\r\n'
    )
    kind = {'Content-Type': 'multipart/form-data; boundary=b'}
    return asked(f'{url}/gradio_api/upload', body, **kind)[:2]


def looked_at(url: str, image: dict[str, Any] | None, score: float = 0.0) -> str:
    """Return what the server streams when the page asks about an image."""
    config = json.loads(asked(f'{url}/config')[1])
    (look,) = [one for one in config['dependencies'] if len(one['outputs']) == 4]
    session = f's{time.monotonic_ns()}'
    question = {
        'data': [image, score],
        'fn_index': look['id'],
        'session_hash': session,
        'event_data': None,
        'trigger_id': None,
    }
    kind = {'Content-Type': 'application/json'}
    body = json.dumps(question).encode()
    status, answer, _ = asked(f'{url}/gradio_api/queue/join', body, **kind)
    if status != 200:
        return answer.decode()
    return asked(f'{url}/gradio_api/queue/data?session_hash={session}')[1].decode()


def as_upload(path: str | Path) -> dict[str, Any]:
    return {'path': str(path), 'meta': {'_type': 'gradio.FileData'}}


def test_the_page_is_of_this_server_alone(served: Served) -> None:
    status, page, headers = asked(served.url)
    assert status == 200
    assert b'w \\u00b7 paperzoo' in page or 'w · paperzoo'.encode() in page
    assert "default-src 'self'" in headers['content-security-policy']
    style = asked(f'{served.url}/theme.css')[1]
    assert b'googleapis' not in page + style
    config = json.loads(asked(f'{served.url}/config')[1])
    assert config['analytics_enabled'] is False


@pytest.mark.parametrize('route', ['/gradio_api/file=', '/file=', '/gradio_api/file/'])
def test_no_file_of_the_machine_is_given_out(served: Served, route: str) -> None:
    encoded = str(served.model).replace('/', '%2F')
    for path in ('/etc/passwd', served.model, encoded, served.folder / 'stderr.txt'):
        status, content, _ = asked(f'{served.url}{route}{path}')
        assert (status, content) == (404, b'there is no such page'), path
    (own,) = (served.folder / 'tmp').iterdir()
    around = f'{own}/../../w.pth'
    assert asked(f'{served.url}{route}{around}')[0] == 404


@pytest.mark.parametrize(
    'path', ['/etc/passwd', 'w.pth', 'http://127.0.0.1:9/a.png', 'https://a.example/a']
)
@pytest.mark.parametrize('marked', [True, False])
def test_no_file_of_the_machine_is_looked_at(
    served: Served, path: str, marked: bool
) -> None:
    if path == 'w.pth':
        path = str(served.model)
    image = as_upload(path) if marked else {'path': path}
    said = looked_at(served.url, image)
    assert '"success": false' in said or '"success":false' in said
    assert 'root:' not in said
    assert 'Traceback' not in said


def test_an_upload_is_looked_at(served: Served) -> None:
    status, paths = upload(served.url, served.image)
    assert status == 200
    (path,) = json.loads(paths)
    said = looked_at(served.url, as_upload(path))
    assert '(320 x 240 pixels)' in said
    (records,) = set(re.findall(r'/gradio_api/file=([^"]+\.json)', said))
    written = json.loads(asked(f'{served.url}/gradio_api/file={records}')[1])
    expected = paperzoo.load(served.model, device='cpu')(served.image, score=0.0)
    assert len(written['annotations']) == len(expected) > 0
    assert written['info']['checkpoint'] == 'w.pth'
    assert str(served.folder) not in json.dumps(written)


def test_too_large_and_broken_uploads(served: Served, tmp_path: Path) -> None:
    large = tmp_path / 'large.jpg'
    large.write_bytes(served.image.read_bytes() + bytes(2**20))
    assert upload(served.url, large)[0] == 413
    bomb = write_bomb(tmp_path / 'bomb.png', 60_000)
    (path,) = json.loads(upload(served.url, bomb)[1])
    assert 'million pixels' in looked_at(served.url, as_upload(path))
    (tmp_path / 'a.jpg').write_text('<script>alert(1)</script>')
    (path,) = json.loads(upload(served.url, tmp_path / 'a.jpg')[1])
    said = looked_at(served.url, as_upload(path))
    assert 'it is no JPEG' in said
    assert 'Traceback' not in said
    # Given back as a file, never as a page.
    assert asked(f'{served.url}/gradio_api/file={path}')[2]['x-content-type-options']


def test_other_pages_may_not_use_it(served: Served) -> None:
    own = {'Content-Type': 'application/json'}
    url = f'{served.url}/gradio_api/queue/join'
    assert asked(url, b'{}', Origin='https://a.example', **own)[0] == 403
    assert asked(served.url, Host='a.example')[0] == 421
    for path in ('docs', 'gradio_api/proxy=https://a.example', 'monitoring'):
        assert asked(f'{served.url}/{path}')[0] == 404


def ended(served_url: str, process: subprocess.Popen, number: int) -> str:
    """End a server while a page is open; return what it printed at last."""
    heartbeat = f'{served_url}/gradio_api/heartbeat/abc'
    with urllib.request.urlopen(heartbeat, timeout=60) as page:
        page.read(1)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    return said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    file = write_detector(tmp_path / 'm.onnx')
    process, url = start(tmp_path, file)
    Image.new('RGB', (80, 60)).save(tmp_path / 'a.png')
    (path,) = json.loads(upload(url, tmp_path / 'a.png')[1])
    assert '1 dog (80 x 60 pixels)' in looked_at(url, as_upload(path), 0.3)
    assert Path(path).is_file()
    assert 'closed, what was uploaded is deleted' in ended(url, process, number)
    assert process.returncode == 0
    assert (tmp_path / 'stderr.txt').read_text() == ''
    assert list((tmp_path / 'tmp').iterdir()) == []


def test_what_is_wrong_is_said_before_a_model_is_loaded(monkeypatch, capsys) -> None:
    with listen('127.0.0.1', 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'port {port} of .* cannot be used'):
            listen('127.0.0.1', port)
    with pytest.raises(UserError, match=r"--host 'no\.such.* is no address"):
        listen('no.such.host.invalid', 0)
    monkeypatch.setattr(module, 'find_spec', lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'paperzoo\[web\]'"):
        check_gradio()
    for arguments, message in (
        (['no_such.pth'], "'no_such.pth' alone is no checkpoint"),
        (['fcos_tiny_shapes'], 'paperzoo serve fcos_tiny_shapes CHECKPOINT'),
    ):
        monkeypatch.setattr(sys, 'argv', ['serve', *arguments])
        with pytest.raises(UserError, match=message):
            serve.main()
    port, size = 'it must be a whole number from 0 to 65535', 'a number of megabytes'
    for option, value, wanted in (
        *(('--port', value, port) for value in ('70000', 'http', '1.5')),
        *(('--max-upload-mb', value, size) for value in ('0', 'nan', '20MB')),
    ):
        monkeypatch.setattr(sys, 'argv', ['serve', 'a.pth', option, value])
        with pytest.raises(SystemExit):
            serve.main()
        said = capsys.readouterr().err
        assert f"argument {option}: '{value}': {wanted}" in said


def test_variables_of_the_user_do_not_reach_gradio(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('GRADIO_ALLOWED_PATHS', '/')
    monkeypatch.setenv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:9')
    before = dict(os.environ)
    with module._own_settings(tmp_path):
        assert 'GRADIO_ALLOWED_PATHS' not in os.environ
        assert 'OTEL_EXPORTER_OTLP_ENDPOINT' not in os.environ
        assert os.environ['GRADIO_TEMP_DIR'] == str(tmp_path)
        assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'
    assert dict(os.environ) == before
