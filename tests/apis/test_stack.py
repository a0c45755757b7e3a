"""A missing or wrong mmcv ends in one message that names the repairing command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paperzoo.apis.stack import check_stack

REPAIR = "pip install 'paperzoo[lite]'"


def train(extra_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(p for p in (str(extra_path), *sys.path) if p)
    return subprocess.run(
        [sys.executable, '-m', 'paperzoo', 'train', 'fcos_tiny_shapes'],
        env={**os.environ, 'PYTHONPATH': path},
        cwd=extra_path,
        capture_output=True,
        text=True,
    )


def test_a_complete_stack_passes() -> None:
    for scope in (None, 'mmengine', 'mmdet', 'mmseg'):
        check_stack(scope)


@pytest.mark.parametrize(
    ('source', 'said'),
    [
        ("__version__ = '2.2.0'", 'MMCV==2.2.0'),
        (
            "raise ModuleNotFoundError('No module named mmcv', name='mmcv')",
            'not installed',
        ),
    ],
    ids=['wrong version', 'missing'],
)
def test_wrong_or_missing_mmcv_is_one_message(
    tmp_path: Path, source: str, said: str
) -> None:
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text(source)
    done = train(tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert REPAIR in done.stderr
    assert 'paperzoo doctor' in done.stderr
    assert 'Traceback' not in done.stderr
