import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from paperzoo.compat import mmcv_ext

mmcv_ext.apply()
ext = importlib.import_module('mmcv._ext')
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


def python(code: str, *first: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, with `first` and then our path."""
    path = os.pathsep.join(str(p) for p in (*first, *sys.path) if p)
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )


def fake_mmcv(folder: Path, compiled: bool) -> Path:
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').touch()
    if compiled:
        (package / '_ext.py').write_text('nms = "compiled"')
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
    run = python(f'{APPLY}; import mmcv._ext; print(mmcv._ext.nms)', path)
    assert run.stdout.strip() == 'compiled', run.stderr


def test_a_loaded_compiled_module_is_never_replaced(monkeypatch):
    compiled = object()
    monkeypatch.setitem(sys.modules, mmcv_ext.NAME, compiled)
    mmcv_ext.apply()
    assert importlib.import_module(mmcv_ext.NAME) is compiled


def test_a_package_without_the_compiled_module_gets_the_stand_in(tmp_path):
    path = fake_mmcv(tmp_path, compiled=False)
    code = 'import importlib.util as u; print(u.find_spec("mmcv._ext").origin)'
    run = python(f'{APPLY}; {code}', path)
    assert run.stdout.strip() == 'paperzoo.compat.ops', run.stderr


@needs_stand_in
def test_the_import_system_finds_a_spec():
    assert importlib.util.find_spec(mmcv_ext.NAME) is ext.__spec__
    assert ext.__spec__.name == mmcv_ext.NAME
    if hasattr(pkgutil, 'find_loader'):  # what mmengine asks; gone in Python 3.14
        assert pkgutil.find_loader(mmcv_ext.NAME) is ext.__spec__.loader


@needs_stand_in
def test_an_op_without_stand_in_names_itself_and_the_remedy():
    carafe = importlib.import_module('mmcv.ops').carafe
    features, masks = torch.randn(1, 2, 4, 4), torch.randn(1, 9, 8, 8)
    with pytest.raises(NotImplementedError) as caught:
        carafe(features, masks, 3, 1, 2)
    said = str(caught.value)
    assert "'carafe_forward'" in said
    assert "pip install 'paperzoo[full]'" in said
    assert 'setuptools<81' in said
    assert '--no-build-isolation' in said


@needs_stand_in
def test_private_names_are_absent():
    assert hasattr(ext, 'roi_align_forward')
    for name in ('__wrapped__', '__path__', '_private'):
        assert not hasattr(ext, name)


@needs_stand_in
def test_mmcv_reports_its_environment():
    collect_env = importlib.import_module('mmcv.utils').collect_env
    assert collect_env()['MMCV Compiler'] == 'n/a'
