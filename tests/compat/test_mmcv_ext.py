import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError

mmcv_ext.apply()
ext = importlib.import_module('mmcv._ext')
OPS = mmcv_ext.bound_ops()
needs_stand_in = pytest.mark.skipif(
    not isinstance(ext, mmcv_ext.StandIn), reason='compiled mmcv is installed'
)

CHAINS = [
    'mmcv.ops',
    'mmdet.apis',
    'mmdet.datasets',
    'mmdet.engine',
    'mmdet.evaluation',
    'mmdet.models',
    'mmdet.visualization',
    'mmseg.apis',
    'mmseg.datasets',
    'mmseg.models',
]
# Runs the file on its own, so that this remedy alone is applied.
APPLY = f'import runpy; runpy.run_path({mmcv_ext.__file__!r})["apply"]()'


def python(code: str, *first: Path, ops: str = '') -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, with `first` and then our path."""
    path = os.pathsep.join(str(p) for p in (*first, *sys.path) if p)
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': path, 'PAPERZOO_OPS': ops},
        capture_output=True,
        text=True,
    )


# Stands for a compiled module: an op that we have, one that we have not.
COMPILED = """
def nms(*args, **kwargs): return 'compiled nms'
def border_align_forward(*args, **kwargs): return 'compiled border_align'
def get_compiler_version(): return 'GCC 99'
"""
# What mmcv's ops do: look the op up at each call.
CALLS = """
import torch
boxes, scores = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8]]), torch.tensor([0.5, 0.9])
for device in ('cpu', 'meta'):
    arguments = boxes.to(device), scores.to(device)
    print(ext.nms(*arguments, iou_threshold=0.5, offset=0))
print(ext.border_align_forward(boxes), ext.get_compiler_version())
"""
OURS_ON_CPU = ['tensor([1])', 'compiled nms', 'compiled border_align GCC 99']
ALL_COMPILED = ['compiled nms', 'compiled nms', 'compiled border_align GCC 99']


def fake_mmcv(folder: Path, compiled: bool) -> Path:
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').touch()
    if compiled:
        (package / '_ext.py').write_text(COMPILED)
    return folder


@needs_stand_in
def test_the_ailment_without_the_remedy():
    run = python('import mmcv.ops')
    assert run.returncode == 1
    assert "No module named 'mmcv._ext'" in run.stderr


def test_mmdet_and_mmseg_import_with_the_remedy():
    run = python(f'{APPLY}; import {", ".join(CHAINS)}')
    assert run.returncode == 0, run.stderr


def test_apply_is_cheap():
    heavy = '{"torch", "mmcv", "mmengine", "mmdet"}'
    run = python(f'{APPLY}; import sys; print({heavy} & set(sys.modules))')
    assert run.stdout.strip() == 'set()', run.stderr


def test_apply_twice_adds_one_finder():
    mmcv_ext.apply()
    mmcv_ext.apply()
    finders = [f for f in sys.meta_path if isinstance(f, mmcv_ext.StandInFinder)]
    assert len(finders) == 1


def test_apply_does_nothing_without_mmcv(monkeypatch):
    others = [f for f in sys.meta_path if not isinstance(f, mmcv_ext.StandInFinder)]
    monkeypatch.setattr(sys, 'meta_path', list(others))
    monkeypatch.delitem(sys.modules, 'mmcv')
    monkeypatch.setattr(mmcv_ext, 'find_spec', lambda name: None)
    mmcv_ext.apply()
    assert sys.meta_path == others


def test_a_compiled_module_is_never_replaced(tmp_path):
    path = fake_mmcv(tmp_path, compiled=True)
    run = python(f'{APPLY}; import mmcv._ext as ext\n{CALLS}', path)
    assert run.stdout.splitlines() == ALL_COMPILED, run.stderr


def test_a_loaded_compiled_module_is_never_replaced(monkeypatch):
    compiled = object()
    monkeypatch.setitem(sys.modules, mmcv_ext.NAME, compiled)
    mmcv_ext.apply()
    assert importlib.import_module(mmcv_ext.NAME) is compiled


def test_a_package_without_the_compiled_module_gets_the_stand_in(tmp_path):
    path = fake_mmcv(tmp_path, compiled=False)
    code = 'import importlib.util as u; print(u.find_spec("mmcv._ext").origin)'
    run = python(f'{APPLY}; {code}', path)
    assert run.stdout.strip() == 'paperzoo.ops', run.stderr


def fake_compiled() -> ModuleType:
    module = ModuleType(mmcv_ext.NAME)
    exec(COMPILED, vars(module))
    return module


def answers(module: ModuleType, capsys: pytest.CaptureFixture) -> list[str]:
    capsys.readouterr()
    exec(CALLS, {'ext': module})
    return capsys.readouterr().out.splitlines()


def test_the_option_takes_cpu_tensors_from_a_loaded_module(monkeypatch, capsys):
    compiled = fake_compiled()
    monkeypatch.setitem(sys.modules, mmcv_ext.NAME, compiled)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    mmcv_ext.apply()
    assert answers(compiled, capsys) == ALL_COMPILED
    monkeypatch.setenv('PAPERZOO_OPS', 'standin')
    for _ in range(2):
        mmcv_ext.apply()
        assert answers(compiled, capsys) == OURS_ON_CPU
    assert compiled.nms.__wrapped__ is OPS['nms']


def test_the_option_takes_cpu_tensors_from_a_module_loaded_later(
    monkeypatch, capsys, tmp_path
):
    folder = fake_mmcv(tmp_path, compiled=True) / 'mmcv'
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    monkeypatch.setenv('PAPERZOO_OPS', 'standin')
    mmcv_ext.apply()
    finder = sys.meta_path[0]
    assert isinstance(finder, mmcv_ext.StandInFinder)
    spec = finder.find_spec(mmcv_ext.NAME, [str(folder)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert answers(module, capsys) == OURS_ON_CPU


def test_the_option_replaces_a_compiled_module_that_does_not_load(tmp_path):
    folder = fake_mmcv(tmp_path, compiled=True) / 'mmcv'
    (folder / '_ext.py').write_text('raise ImportError("undefined symbol")')
    spec = mmcv_ext.StandInFinder(True).find_spec(mmcv_ext.NAME, [str(folder)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module, mmcv_ext.StandIn)
    assert module.nms is OPS['nms']


@needs_stand_in
def test_the_option_changes_nothing_on_mmcv_lite(monkeypatch):
    monkeypatch.setenv('PAPERZOO_OPS', 'standin')
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    mmcv_ext.apply()
    assert ext.nms is OPS['nms']
    spec = importlib.util.spec_from_loader(mmcv_ext.NAME, sys.meta_path[0])
    assert isinstance(importlib.util.module_from_spec(spec), mmcv_ext.StandIn)


def test_the_option_is_applied_by_importing_compat(tmp_path):
    path = fake_mmcv(tmp_path, compiled=True)
    code = f'import mmcv._ext as ext, paperzoo.compat\n{CALLS}'
    run = python(code, path, ops='standin')
    assert run.stdout.splitlines() == OURS_ON_CPU, run.stderr


def test_an_unknown_value_of_the_option_is_named(monkeypatch):
    monkeypatch.setenv('PAPERZOO_OPS', 'stand-in')
    with pytest.raises(
        UserError, match=r"PAPERZOO_OPS is 'stand-in'.*'standin'.*unset"
    ):
        mmcv_ext.apply()


@needs_stand_in
def test_the_remedy_may_come_after_an_import_that_failed():
    code = """
try:
    import mmdet.models
except ModuleNotFoundError as error:
    print(error)
import mmdet, paperzoo.compat
import mmdet.models, mmcv.ops, torch
print(mmcv.ops.nms(torch.tensor([[0., 0, 9, 9]]), torch.tensor([0.5]), 0.5)[1])
"""
    run = python(code)
    said = ["No module named 'mmcv._ext'", 'tensor([0])']
    assert run.stdout.splitlines() == said, run.stderr


@needs_stand_in
def test_the_import_system_finds_a_spec():
    assert importlib.util.find_spec(mmcv_ext.NAME) is ext.__spec__
    assert ext.__spec__.name == mmcv_ext.NAME
    if hasattr(pkgutil, 'find_loader'):  # what mmengine asks; gone in Python 3.14
        assert pkgutil.find_loader(mmcv_ext.NAME) is ext.__spec__.loader


@needs_stand_in
def test_an_op_without_stand_in_names_itself_and_the_remedy():
    with pytest.raises(NotImplementedError) as caught:
        ext.bezier_align_forward()
    said = str(caught.value)
    assert isinstance(caught.value, UserError)  # one message on the command line
    assert "'bezier_align_forward'" in said
    assert 'C++ compiler' in said
    assert '10 to 20 minutes' in said
    assert "pip install 'setuptools<81'" in said
    assert said.index('pip wheel') < said.index('pip uninstall')
    assert 'GPU' not in said


@needs_stand_in
def test_an_op_that_compiled_mmcv_has_for_gpus_only_says_so():
    with pytest.raises(
        NotImplementedError, match=r'GPUs only.*on a machine with a GPU'
    ):
        ext.border_align_forward()


@needs_stand_in
def test_private_names_are_absent():
    assert hasattr(ext, 'roi_align_forward')
    for name in ('__wrapped__', '__path__', '_private'):
        assert not hasattr(ext, name)


@needs_stand_in
def test_mmcv_reports_its_environment():
    collect_env = importlib.import_module('mmcv.utils').collect_env
    assert collect_env()['MMCV Compiler'] == 'n/a'
