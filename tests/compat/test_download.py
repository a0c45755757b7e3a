import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paperzoo.compat.download import cached_file
from paperzoo.errors import UserError

_BODY = bytes(range(256)) * 8
_DIGEST = hashlib.sha256(_BODY).hexdigest()


class _Server(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        if 'missing' in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if 'unmeasured' not in self.path:
            self.send_header('Content-Length', str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY[:100] if 'short' in self.path else _BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setattr(_Server, 'asked', [])
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


@pytest.mark.parametrize(
    'name',
    ['plain.pth', 'unmeasured.pth', f'hashed-{_DIGEST[:8]}.pth', 'dated-20210831.pth'],
)
def test_a_whole_file_is_kept_and_fetched_once(name, url, tmp_path):
    for _ in range(2):
        path = cached_file(f'{url}/models/{name}?download=1', str(tmp_path))
        assert path == tmp_path / name
        assert path.read_bytes() == _BODY
    assert len(_Server.asked) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('short.pth', 'it ended after 100 of 2048 bytes'),
        ('missing.pth', 'HTTP Error 404'),
        (
            'hashed-0123abcd.pth',
            f'SHA-256 begins with {_DIGEST[:8]}, not with 0123abcd',
        ),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_how_to_go_on(
    name, reason, url, tmp_path
):
    with pytest.raises(UserError) as failure:
        cached_file(f'{url}/{name}', str(tmp_path))
    message = str(failure.value)
    assert reason in message
    assert f"'{url}/{name}'" in message
    assert f"'{tmp_path / name}'" in message
    assert '--from-scratch' in message
    assert 'PAPERZOO_MIRROR=' in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['address', 'folder'])
def test_a_mirror_holds_the_file_under_its_name(kind, url, tmp_path, monkeypatch):
    name = f'plain-{_DIGEST[:8]}.pth'
    (tmp_path / 'mirror').mkdir()
    (tmp_path / 'mirror' / name).write_bytes(_BODY)
    mirror = {'address': f'{url}/mine/', 'folder': str(tmp_path / 'mirror')}[kind]
    monkeypatch.setenv('PAPERZOO_MIRROR', mirror)
    path = cached_file(f'http://127.0.0.1:9/models/{name}', str(tmp_path))
    assert path == tmp_path / name
    assert path.read_bytes() == _BODY
    assert _Server.asked == ([f'/mine/{name}'] if kind == 'address' else [])
    # What it holds is checked like all else.
    wrong = tmp_path / 'mirror' / 'other-0123abcd.pth'
    wrong.write_bytes(_BODY)
    monkeypatch.setenv('PAPERZOO_MIRROR', str(wrong.parent))
    with pytest.raises(UserError, match='not with 0123abcd'):
        cached_file(f'{url}/{wrong.name}', str(tmp_path))


def test_a_host_that_is_not_there_is_a_user_error(url, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    place = re.escape(str(tmp_path / 'hub' / 'checkpoints' / 'weights.pth'))
    with pytest.raises(UserError, match=place):
        cached_file('http://127.0.0.1:9/weights.pth')


def test_an_interrupted_download_leaves_nothing(url, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        assert list(tmp_path.glob('*.partial'))
        raise KeyboardInterrupt

    monkeypatch.setattr('torch.hub.tqdm', interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_file(f'{url}/plain.pth', str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_of_a_node_downloads(url, tmp_path, monkeypatch):
    order = []

    def barrier():
        order.append('barrier')
        (tmp_path / 'plain.pth').write_bytes(b'by the first process')

    monkeypatch.setattr('mmengine.dist.barrier', barrier)
    monkeypatch.setenv('LOCAL_RANK', '1')
    path = cached_file(f'{url}/plain.pth', str(tmp_path))
    assert path.read_bytes() == b'by the first process'
    assert order == ['barrier']
    assert _Server.asked == []


def test_a_failure_reaches_the_processes_that_wait(url, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr('mmengine.dist.barrier', lambda: waited.append(True))
    for rank, reason in [('0', '404'), ('1', 'the first process of this node')]:
        monkeypatch.setenv('LOCAL_RANK', rank)
        with pytest.raises(UserError, match=reason):
            cached_file(f'{url}/missing.pth', str(tmp_path))
    assert waited == [True, True]
