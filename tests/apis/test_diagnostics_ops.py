"""What the doctor says about mmcv's ops, on simulated machines."""

import sys
from importlib import import_module
from types import ModuleType

import pytest

from paperzoo.apis import diagnostics
from paperzoo.apis.diagnostics import note_ops
from paperzoo.compat import mmcv_ext


@pytest.fixture
def report() -> diagnostics.Report:
    return diagnostics.Report()


def compiled(**ops: object) -> ModuleType:
    module = ModuleType('mmcv._ext')
    vars(module).update(ops)
    return module


@pytest.mark.parametrize('option', [False, True])
def test_a_compiled_module(report, monkeypatch, option) -> None:
    ext = compiled(nms=len, border_align_forward=len)
    if option:
        monkeypatch.setenv('PAPERZOO_OPS', 'standin')
        mmcv_ext.prefer_stand_in(ext)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', ext)
    report.loaded['mmcv'] = import_module('mmcv')
    note_ops(report)
    assert report.rows['mmcv._ext'].startswith('compiled')
    assert ('PAPERZOO_OPS' in report.rows['mmcv._ext']) == option
    assert report.ops['nms'] == ('stand-in on CPU tensors' if option else 'compiled')
    assert report.ops['border_align_forward'] == 'compiled'
    assert report.ops['roi_pool_forward'] == 'missing'


@pytest.mark.parametrize('gpu', [False, True])
@pytest.mark.parametrize('cuda', ['not available', '12.1'])
def test_for_which_device_it_was_compiled(report, monkeypatch, gpu, cuda) -> None:
    ext = compiled(nms=len, get_compiling_cuda_version=lambda: cuda)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', ext)
    monkeypatch.setattr(import_module('torch').cuda, 'is_available', lambda: gpu)
    report.loaded['mmcv'] = import_module('mmcv')
    note_ops(report)
    assert report.rows['mmcv._ext'] == f'compiled; CUDA: {cuda}'
    assert report.stops_work == (gpu and cuda == 'not available')
    if report.stops_work:
        (trouble,) = report.troubles
        assert 'compiled without CUDA' in trouble.what
        assert 'FORCE_CUDA=1' in trouble.command


@pytest.mark.parametrize('option', [False, True])
def test_ops_that_compiled_mmcv_lacks_on_a_cpu(report, monkeypatch, option) -> None:
    ext = compiled(nms=len, roi_pool_forward=len, ms_deform_attn_forward=len)
    if option:
        monkeypatch.setenv('PAPERZOO_OPS', 'standin')
        mmcv_ext.prefer_stand_in(ext)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', ext)
    report.loaded['mmcv'] = import_module('mmcv')
    note_ops(report)
    if option:
        assert report.ops['roi_pool_forward'] == 'stand-in on CPU tensors'
        assert report.troubles == []
        return
    assert report.ops['roi_pool_forward'] == 'compiled, but not for CPU tensors'
    assert report.ops['nms'] == 'compiled'
    what = 'compiled mmcv has no ms_deform_attn, roi_pool for CPU tensors'
    assert report.troubles == [(what, 'export PAPERZOO_OPS=standin', False)]


def test_a_compiled_module_of_another_torch(report, monkeypatch) -> None:
    real = diagnostics.import_module

    def load(name: str) -> ModuleType:
        if name == 'mmcv._ext':
            raise ImportError('_ext.so: undefined symbol: _ZN3c10')
        return real(name)

    monkeypatch.setattr(diagnostics, 'import_module', load)
    report.loaded['mmcv'] = real('mmcv')
    note_ops(report)
    (trouble,) = report.troubles
    assert 'undefined symbol' in trouble.what
    assert trouble.command.startswith('export PAPERZOO_OPS=standin')
    assert trouble.stops_work
