"""Each check of the doctor on simulated machines."""

import configparser
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from paperzoo.apis import diagnostics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report() -> diagnostics.Report:
    return diagnostics.Report()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The dists of a machine; modules are there if one of their dists is."""
    dists: dict[str, str] = {}
    modules = {**diagnostics.STACK, 'torch': ('torch',)}

    def find_spec(name: str) -> object | None:
        found = [d for d in modules.get(name, (name,)) if d in dists]
        return found or None

    monkeypatch.setattr(diagnostics, 'version_of', dists.get)
    monkeypatch.setattr(diagnostics, 'find_spec', find_spec)
    return dists


GOOD = {
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
}


def test_no_torch(report, installed) -> None:
    assert not diagnostics._torch(report)
    assert report.rows['torch'] == 'missing'
    assert report.troubles == [('torch is not installed', 'pip install torch', True)]


def test_an_old_torch(report, installed, monkeypatch) -> None:
    installed['torch'] = '2.5.1'
    monkeypatch.setattr(import_module('torch'), '__version__', '2.5.1+cu121')
    assert diagnostics._torch(report)
    assert report.rows['torch'] == '2.5.1+cu121'
    wrong = ('torch 2.5.1+cu121 is not >=2.6', "pip install 'torch>=2.6'", True)
    assert report.troubles == [wrong]


def test_a_good_stack(report, installed) -> None:
    installed.update(GOOD)
    diagnostics._stack_versions(report)
    assert report.troubles == []
    assert report.rows['mmcv'] == 'mmcv-lite 2.1.0'


@pytest.mark.parametrize(
    ('gone', 'stops_work'),
    [
        ('mmengine', True),
        ('mmcv-lite', True),
        ('mmdet', False),
        ('mmsegmentation', False),
    ],
)
def test_a_package_is_missing(report, installed, gone, stops_work) -> None:
    installed.update(GOOD)
    del installed[gone]
    diagnostics._stack_versions(report)
    (trouble,) = report.troubles
    assert 'is not installed' in trouble.what
    assert trouble[1:] == ("pip install 'paperzoo[lite]'", stops_work)
    assert 'missing' in report.rows.values()


def test_two_dists_of_one_package(report, installed) -> None:
    installed.update(GOOD, mmcv='2.1.0')
    diagnostics._stack_versions(report)
    (trouble,) = report.troubles
    assert trouble.what.startswith('mmcv and mmcv-lite are both installed')
    assert trouble.command.startswith('pip uninstall -y mmcv mmcv-lite && pip install')
    assert report.rows['mmcv'] == 'mmcv 2.1.0, mmcv-lite 2.1.0'


def test_a_version_out_of_range(report, installed) -> None:
    installed.update(GOOD, **{'mmcv-lite': '2.2.0'})
    diagnostics._stack_versions(report)
    wanted = '>=2.1,<2.2'
    wrong = (f'mmcv-lite 2.2.0 is not {wanted}', f"pip install 'mmcv-lite{wanted}'")
    assert report.troubles == [(*wrong, True)]


def test_forks_have_their_own_versions(report, installed) -> None:
    installed.update(GOOD)
    for upstream in ('mmcv-lite', 'mmdet'):
        del installed[upstream]
    installed.update({'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1'})
    diagnostics._stack_versions(report)
    assert report.troubles == []
    assert report.rows['mmcv'] == 'onedl-mmcv 2.3.6'


@pytest.mark.parametrize(
    ('version', 'fits'),
    [
        ('2.1', True),
        ('2.1.0rc1', True),
        ('2.1.9+cu121', True),
        ('2.0.1', False),
        ('2.2', False),
        ('2.10.0', False),
        ('of my own', False),
    ],
)
def test_ranges(version: str, fits: bool) -> None:
    assert diagnostics.fits(version, '>=2.1,<2.2') == fits


def test_ranges_are_those_of_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg', encoding='utf-8')
    lite = setup['options.extras_require']['lite'].split()
    core = setup['options']['install_requires'].split()
    full = setup['options.extras_require']['full'].split()
    lines = {line for line in (*lite, *full) if '>' in line}
    named = [re.split('(?=[<>=])', line, maxsplit=1) for line in lines]
    assert {dist for dist, _ in named} >= {'mmengine', 'mmcv', 'mmcv-lite', 'mmdet'}
    assert all(diagnostics.wanted_versions(dist) == range_ for dist, range_ in named)
    # Other names of the same code.
    for dist, upstream in (('mmengine-lite', 'mmengine'), ('mmcv-full', 'mmcv')):
        assert diagnostics.wanted_versions(dist) == dict(named)[upstream]
    assert f'torch{diagnostics.wanted_versions("torch")}' in core
    assert set(diagnostics.EVALUATORS.values()) <= set(core)


def test_mmdet_refuses_the_versions_of_the_others(report, monkeypatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise AssertionError('MMCV==2.2.0 is used but incompatible')

    monkeypatch.setattr(diagnostics, 'import_module', refuse)
    assert not report.load('mmdet', 'mmdet', 'another command')
    (trouble,) = report.troubles
    assert 'MMCV==2.2.0 is used but incompatible' in trouble.what
    assert trouble.command == diagnostics.REPAIR


def test_a_package_misses_a_package_of_its_own(report, monkeypatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'ftfy'", name='ftfy')

    monkeypatch.setattr(diagnostics, 'import_module', refuse)
    report.load('mmseg', 'mmseg', 'another command')
    assert report.troubles[0].command == 'pip install ftfy'


@pytest.mark.parametrize(
    ('setuptools', 'said'),
    [('82.0.0', 'setuptools 82.0.0 has no'), (None, 'there is no')],
)
def test_mim_without_pkg_resources(report, installed, setuptools, said) -> None:
    installed['openmim'] = '0.3.9'
    if setuptools:
        installed['setuptools'] = setuptools
    diagnostics._mim(report)
    what = f'mim does not start: {said} pkg_resources. paperzoo needs no mim'
    assert report.troubles == [(what, "pip install 'setuptools<81'", False)]


@pytest.mark.parametrize('dist', ['openmim', 'onedl-mim', None])
def test_a_mim_that_starts_or_is_not_there(report, installed, dist) -> None:
    installed['pkg_resources'] = '1'
    if dist:
        installed[dist] = '0.5'
    if dist == 'onedl-mim':
        del installed['pkg_resources']  # this fork does not need it
    diagnostics._mim(report)
    assert report.rows['mim'] == (f'{dist} 0.5' if dist else 'missing')
    assert report.troubles == []


def test_an_unknown_option(report, monkeypatch) -> None:
    monkeypatch.setenv('PAPERZOO_OPS', 'stand-in')
    monkeypatch.delitem(sys.modules, 'paperzoo.compat')
    assert not diagnostics._remedies(report)
    (trouble,) = report.troubles
    assert "'stand-in'" in trouble.what
    assert trouble.command == 'unset PAPERZOO_OPS'


@pytest.mark.parametrize('module', diagnostics.EVALUATORS)
def test_no_evaluator(report, installed, module) -> None:
    dist = diagnostics.EVALUATORS[module]
    diagnostics._evaluator(report, module, dist)
    assert report.rows[dist] == 'missing'
    assert report.troubles[0].command == f'pip install {dist}'
    assert report.troubles[0].stops_work


def test_folders(report, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    monkeypatch.setenv('PAPERZOO_CACHE', str(tmp_path / 'new' / 'cache'))
    diagnostics._folders(report)
    assert report.rows['PAPERZOO_DATA'] == f'{tmp_path} (exists, writable)'
    assert report.rows['PAPERZOO_CACHE'].endswith('(does not exist, writable)')
    assert report.troubles == []


def test_a_data_folder_that_is_not_there(report, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path / 'typo'))
    diagnostics._folders(report)
    (trouble,) = report.troubles
    assert 'typo' in trouble.what
    assert not trouble.stops_work


@pytest.mark.parametrize('kind', ['read only', 'a file'])
def test_a_cache_that_cannot_be_written(report, monkeypatch, tmp_path, kind) -> None:
    cache = tmp_path / 'cache'
    if kind == 'a file':
        cache.touch()
    else:  # root may write everywhere: simulate
        monkeypatch.setattr(diagnostics.os, 'access', lambda *_: False)
    monkeypatch.setenv('PAPERZOO_CACHE', str(cache))
    diagnostics._folders(report)
    (trouble,) = report.troubles
    assert f"'{cache}' is not writable" in trouble.what
    assert trouble.command.startswith('export PAPERZOO_CACHE=')
