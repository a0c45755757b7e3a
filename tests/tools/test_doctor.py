"""The doctor names what is wrong and the command that mends it, whatever is broken."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from paperzoo.apis.diagnostics import Report
from paperzoo.compat import mmcv_ext
from paperzoo.tools import doctor

OPS = mmcv_ext.bound_ops()
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'paperzoo' / 'tools' / 'doctor.py'  # as mim runs it


def run(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(p) for p in (first, ROOT) if p)
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )


def fake(folder: Path, name: str, source: str) -> Path:
    (folder / name).mkdir()
    (folder / name / '__init__.py').write_text(source)
    return folder


def test_a_whole_machine() -> None:
    done = run('--json')
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert [x for x in found['troubles'] if x['stops_work']] == []
    assert found['rows']['torch'] == str(import_module('torch').__version__)
    ext = import_module('mmcv._ext')
    stand_in = isinstance(ext, mmcv_ext.StandIn)
    assert found['rows']['mmcv._ext'].startswith('stand-in' if stand_in else 'compiled')
    ours = {name for name, source in found['ops'].items() if source == 'stand-in'}
    assert ours == ({x for x in OPS if not x.startswith('get_')} if stand_in else set())
    assert found['ops']['border_align_forward'] == (
        'missing' if stand_in else 'compiled'
    )
    assert len(found['ops']) >= 100


def test_a_broken_torch(tmp_path: Path) -> None:
    source = "raise OSError('libcudart.so.12: cannot open shared object file')"
    done = run(first=fake(tmp_path, 'torch', source))
    assert done.returncode == 1
    assert '`import torch` fails: OSError: libcudart.so.12' in done.stdout
    assert '\n    pip install --force-reinstall torch\n' in done.stdout
    assert 'PAPERZOO_CACHE' in done.stdout  # it goes on
    assert 'Traceback' not in done.stdout + done.stderr


def test_a_torch_that_is_no_torch(tmp_path: Path) -> None:
    done = run(first=fake(tmp_path, 'torch', ''))
    assert done.returncode == 1
    assert 'torch is incomplete: AttributeError' in done.stdout
    assert 'Traceback' not in done.stdout + done.stderr


def test_a_broken_mmcv(tmp_path: Path) -> None:
    source = "raise ImportError('libGL.so.1: cannot open shared object file')"
    done = run(first=fake(tmp_path, 'mmcv', source))
    assert done.returncode == 1
    assert '`import mmcv` fails: ImportError: libGL.so.1' in done.stdout
    assert 'pip install --force-reinstall opencv-python-headless' in done.stdout
    assert '`import mmdet`' not in done.stdout  # it would only say the same again
    assert 'Traceback' not in done.stdout + done.stderr


def test_the_text_puts_what_stops_work_first() -> None:
    report = Report()
    report.rows['torch'] = '2.9'
    report.ops.update(nms='stand-in', carafe='missing', softnms='stand-in')
    report.wrong('a trifle', 'do this', stops_work=False)
    assert doctor.text_of(report).splitlines() == [
        'torch          2.9',
        'ops: missing   1: carafe',
        'ops: stand-in  2: nms, softnms',
        '',
        'note: a trifle',
        '    do this',
        'Nothing is wrong that stops work.',
    ]
    report.wrong('a disaster', 'do that')
    assert doctor.text_of(report).splitlines()[4:] == [
        'WRONG: a disaster',
        '    do that',
        'note: a trifle',
        '    do this',
    ]
