import pkgutil
import subprocess
import sys

import pytest

from paperzoo.compat import find_loader

_WITHOUT = """
import pkgutil
if hasattr(pkgutil, 'find_loader'):
    del pkgutil.find_loader
from mmengine.utils.dl_utils.misc import mmcv_full_available
"""


def _run(code):
    return subprocess.run(
        [sys.executable, '-c', _WITHOUT + code],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_ailment_mmengine_calls_what_python_removed():
    done = _run('mmcv_full_available()')
    assert "module 'pkgutil' has no attribute 'find_loader'" in done.stderr


def test_the_function_is_supplied_where_it_is_missing():
    done = _run(
        'from paperzoo.compat import find_loader\n'
        'find_loader.apply()\n'
        'find_loader.apply()\n'
        'assert pkgutil.find_loader is find_loader.find_loader\n'
        'mmcv_full_available()'
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(pkgutil, 'find_loader'), reason='Python removed it')
def test_where_python_has_it_it_stays_and_answers_alike():
    theirs = pkgutil.find_loader
    find_loader.apply()
    assert pkgutil.find_loader is theirs
    for name in ('json', 'json.decoder', 'sys', 'no_such_module'):
        ours = find_loader.find_loader(name)
        assert type(ours) is type(theirs(name))
        assert getattr(ours, 'path', None) == getattr(theirs(name), 'path', None)
