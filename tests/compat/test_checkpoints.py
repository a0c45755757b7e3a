"""Each hostile file here would create the file `marker`; a control shows it."""

import io
import os
import pickle
import subprocess
import sys
import threading
import types
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mm

from paperzoo.compat import checkpoints
from paperzoo.errors import UserError

_load = mm.CheckpointLoader.load_checkpoint


@pytest.fixture(autouse=True)
def _remedy():
    checkpoints.apply()


class _Call:
    """Pickles as a call; a chain of them is a program."""

    def __init__(self, function, *args):
        self.parts = (function, args)

    def __call__(self):
        """Exist: pickle wants a callable where the function comes from a call, too."""

    def __reduce__(self):
        return self.parts


def _program(name, marker):
    line = f"open({str(marker)!r}, 'w').close()"
    look = partial(_Call, getattr)
    if name == 'system':
        return _Call(os.system, f'touch {marker}')
    if name == 'exec':
        return _Call(exec, line)
    if name == 'rebuild':
        return _Call(torch._tensor._rebuild_from_type_v2, exec, type(None), (line,), {})
    names = look(look(HistoryBuffer, '__init__'), '__globals__')
    builtins = _Call(look(names, 'get'), '__builtins__')
    return _Call(_Call(look(builtins, 'get'), 'exec'), line)


def _write(path, value, form):
    if form == 'pickle':
        path.write_bytes(pickle.dumps(value))
    elif form == 'zip of one':
        _write(path.with_suffix('.part'), value, 'legacy')
        with zipfile.ZipFile(path, 'w') as archive:
            archive.write(path.with_suffix('.part'), 'weights.pth')
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == 'zip')


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'marker'


@pytest.fixture
def hostile(tmp_path, marker):
    path = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'meta': _program('exec', marker)}, path)
    return path


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def _run(code, **env):
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


def test_the_ailment_on_mmengine_alone(tmp_path, hostile, marker, server):
    torch.save(
        {'message_hub': {'loss': HistoryBuffer([1.0], [1])}}, tmp_path / 'own.pth'
    )
    done = _run(
        'from mmengine.runner.checkpoint import _load_checkpoint\n'
        f'_load_checkpoint("{server}/hostile.pth")\n'
        f'_load_checkpoint({str(tmp_path / "own.pth")!r})',
        TORCH_HOME=str(tmp_path / 'home'),
    )
    assert marker.exists(), done.stderr  # By http the hostile file ran.
    assert 'HistoryBuffer was not an allowed global' in done.stderr


def test_the_environment_cannot_switch_the_check_off(hostile, marker, server, tmp_path):
    done = _run(
        'from paperzoo.compat import checkpoints\n'
        'from paperzoo.errors import UserError\n'
        'checkpoints.apply()\n'
        'from mmengine.runner.checkpoint import _load_checkpoint\n'
        'from mmengine.utils.dl_utils import load_url\n'
        f'local, web = {str(hostile)!r}, "{server}/hostile.pth"\n'
        'for load, name in [\n'
        '    (_load_checkpoint, local), (_load_checkpoint, web), (load_url, web)\n'
        ']:\n'
        '    try:\n'
        '        load(name)\n'
        '    except UserError as error:\n'
        "        print('refused' if 'is refused' in str(error) else error)",
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1',
        TORCH_HOME=str(tmp_path / 'home'),
    )
    assert done.stdout.split('\n').count('refused') == 3, done.stdout + done.stderr
    assert not marker.exists()


@pytest.mark.parametrize('form', ['zip', 'legacy', 'pickle', 'zip of one'])
@pytest.mark.parametrize('program', ['system', 'exec', 'rebuild', 'globals'])
def test_a_hostile_file_is_refused_and_did_not_run(program, form, tmp_path, marker):
    path = tmp_path / 'hostile.pth'
    _write(path, {'state_dict': {}, 'meta': _program(program, marker)}, form)
    with pytest.raises(
        UserError, match=r'is refused.*Nothing in it was run'
    ) as refusal:
        _load(str(path))
    assert not marker.exists()
    assert str(path) in str(refusal.value)
    assert 'weights_only` from' not in str(refusal.value)
    if form != 'zip of one':  # The control: without the check the same file does run.
        try:
            (pickle.loads if form == 'pickle' else _unchecked)(path.read_bytes())
        except Exception:
            assert program == 'rebuild'
        assert marker.exists()


def _unchecked(content):
    return torch.load(io.BytesIO(content), weights_only=False)


def test_the_refusal_names_what_was_asked_for(hostile):
    with pytest.raises(UserError, match=r'it asks for `(builtins\.)?exec`'):
        _load(str(hostile))


def test_every_scheme_refuses(hostile, marker, server, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    urls = [checkpoints.torchvision_url('resnet18'), mm.get_mmcls_models()['vgg11']]
    for url in urls:
        (cache / Path(url).name).write_bytes(hostile.read_bytes())
    (tmp_path / 'open_mmlab.json').write_text('{"mine": "hostile.pth"}')
    store = types.SimpleNamespace(get=lambda name: hostile.read_bytes())
    monkeypatch.setattr('mmengine.fileio.get_file_backend', lambda *a, **k: store)
    model = types.SimpleNamespace(
        name='x.pth', download=lambda to: Path(to).write_bytes(hostile.read_bytes())
    )
    pavi = types.SimpleNamespace(modelcloud=types.SimpleNamespace(get=lambda n: model))
    monkeypatch.setitem(sys.modules, 'pavi', pavi)
    for name in [
        str(hostile),
        f'{server}/hostile.pth',
        'torchvision://resnet18',
        'modelzoo://resnet18',
        'open-mmlab://mine',
        'openmmlab://mine',
        'mmcls://vgg11',
        's3://bucket/hostile.pth',
        'open-mmlab:petrel://bucket/hostile.pth',
        'pavi://hostile.pth',
    ]:
        with pytest.raises(UserError, match='is refused'):
            _load(name)
    assert not marker.exists()


def test_every_scheme_that_mmengine_has_is_ours():
    loaders = mm.CheckpointLoader._schemes.values()
    assert {loader.__module__ for loader in loaders} == {checkpoints.__name__}
    assert len(loaders) == 11
    for loader in loaders:
        assert loader.__name__.startswith('load_from_')
        assert getattr(mm, loader.__name__) is loader


@pytest.mark.parametrize('form', ['zip', 'legacy', 'zip of one'])
def test_honest_weights_load_from_every_form(form, tmp_path):
    path = tmp_path / 'weights.pth'
    weights = {'w': torch.arange(6.0).view(2, 3), 'half': torch.ones(2).half()}
    _write(path, {'state_dict': weights}, form)
    torch.testing.assert_close(_load(str(path), 'cpu')['state_dict'], weights)


def test_torchvision_weights_load_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    torch.save({'w': torch.ones(2)}, cache / 'resnet50-0676ba61.pth')
    weights = _load('torchvision://resnet50')
    torch.testing.assert_close(weights, {'w': torch.ones(2)})


class _Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        return {'loss': self.line(torch.stack(x)).square().mean()}


def _runner(folder, epochs, **kwargs):
    data = [{'x': torch.ones(2) * i} for i in range(4)]
    sampler = {'type': 'DefaultSampler', 'shuffle': True}
    return Runner(
        model=_Line(),
        work_dir=str(folder),
        train_dataloader={'dataset': data, 'batch_size': 2, 'sampler': sampler},
        optim_wrapper={'optimizer': {'type': 'AdamW', 'lr': 0.01}},
        param_scheduler=[
            {'type': 'LinearLR', 'start_factor': 0.1, 'end': 2, 'by_epoch': False},
            {'type': 'OneCycleLR', 'eta_max': 0.1, 'total_steps': 9, 'by_epoch': False},
        ],
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        custom_hooks=[{'type': 'EMAHook'}],
        default_hooks={'logger': {'type': 'LoggerHook', 'interval': 1}},
        experiment_name=f'run{epochs}',
        log_level='ERROR',
        **kwargs,
    )


def test_a_checkpoint_of_the_runner_resumes(tmp_path):
    _runner(tmp_path, 1).train()
    saved = tmp_path / 'epoch_1.pth'
    truth = torch.load(saved, weights_only=False)
    checked = torch.load(saved)  # As publish_model does.
    for part in ('meta', 'param_schedulers'):
        assert checked[part] == truth[part]
    for part in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(checked[part], truth[part], rtol=0, atol=0)
    torch.testing.assert_close(
        checked['optimizer']['state'], truth['optimizer']['state'], rtol=0, atol=0
    )
    torch.serialization.clear_safe_globals()  # Our loader needs nobody's goodwill.
    runner = _runner(tmp_path, 2, resume=True)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 4)
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 4
    logged = truth['message_hub']['log_scalars']['train/loss'].data[0]
    np.testing.assert_array_equal(losses[:2], logged)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(
        tmp_path / 'epoch_2.pth'
    )
    assert not [name for name in names if 'paperzoo' in name]
