import importlib
import subprocess
import sys
from importlib import metadata

import pytest

from paperzoo.compat import package_utils
from paperzoo.compat.package_utils import (
    get_installed_path,
    is_installed,
    package2module,
)

# As with setuptools >= 82, whichever is installed here.
_WITHOUT = """
import sys
sys.modules['pkg_resources'] = None
"""
_USE = """
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.utils import is_installed
assert is_installed('mmengine')
"""


def _run(code):
    return subprocess.run(
        [sys.executable, '-c', _WITHOUT + code],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_ailment_mmengine_wants_pkg_resources():
    done = _run(_USE)
    assert 'pkg_resources' in done.stderr
    assert 'ModuleNotFoundError' in done.stderr


def test_every_holder_in_mmengine_gets_the_replacement():
    done = _run(
        'import mmengine.config.config, mmengine.hub.hub, mmengine.utils\n'
        'from paperzoo.compat import package_utils\n'
        'package_utils.apply()\n'
        'from paperzoo.compat.package_utils import get_installed_path, is_installed\n'
        'package_utils.apply()\n'
        'for module in (mmengine.config.config, mmengine.hub.hub, mmengine.utils):\n'
        '    assert module.get_installed_path is get_installed_path\n'
        'assert mmengine.config.config.is_installed is is_installed\n'
        "assert not mmengine.utils.is_installed('no-such-thing')\n" + _USE
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def originals(tmp_path):
    """Give mmengine's own functions, from a fresh copy of their module."""
    pytest.importorskip('pkg_resources')
    source = importlib.import_module('mmengine.utils.package_utils').__file__
    spec = importlib.util.spec_from_file_location('theirs', source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_KNOWN = ['mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'numpy', 'PyYAML', 'json']


@pytest.mark.parametrize('package', [*_KNOWN, 'no-such-thing', 'no_such_thing'])
def test_is_installed_as_mmengine_says(package, originals):
    assert is_installed(package) is originals.is_installed(package)


@pytest.mark.parametrize('package', _KNOWN)
def test_the_path_is_the_one_that_mmengine_gives(package, originals):
    assert get_installed_path(package) == originals.get_installed_path(package)


def test_an_editable_install_is_found_where_its_modules_are(tmp_path, monkeypatch):
    site, source = tmp_path / 'site', tmp_path / 'source'
    info = site / 'toy_plugin-1.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1\n'
    )
    (info / 'top_level.txt').write_text('toymodule\n')
    (source / 'toymodule').mkdir(parents=True)
    (source / 'toymodule' / '__init__.py').touch()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(source))
    importlib.invalidate_caches()
    assert is_installed('toy-plugin')
    assert package2module('toy-plugin') == 'toymodule'
    assert get_installed_path('toy-plugin') == str(source / 'toymodule')
    assert get_installed_path('toymodule') == str(source / 'toymodule')


def test_a_module_without_top_level_txt_is_found_by_its_files(monkeypatch):
    distribution = metadata.distribution('pytest')
    monkeypatch.setattr(type(distribution), 'read_text', lambda self, name: None)
    monkeypatch.setattr(
        metadata, 'packages_distributions', lambda: {'pytest': ['pytest'], 'b': ['c']}
    )
    monkeypatch.setattr(
        metadata.Distribution, 'metadata', property(lambda self: {'Name': 'pytest'})
    )
    assert package2module('pytest') == 'pytest'


def test_what_is_not_there_has_no_path(tmp_path, monkeypatch):
    with pytest.raises(metadata.PackageNotFoundError):
        get_installed_path('no-such-thing')
    (tmp_path / 'namespace_only').mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed('namespace_only')
    with pytest.raises(RuntimeError, match='namespace package'):
        get_installed_path('namespace_only')


def test_apply_is_idempotent():
    package_utils.apply()
    package_utils.apply()
    assert importlib.import_module('mmengine.utils').is_installed is is_installed
