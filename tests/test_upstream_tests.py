"""The command that runs mmdet's and mmseg's own tests, on tests of our own."""

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / 'benchmarks'))
upstream_tests = import_module('upstream_tests')

TESTS = """
import os
import unittest
import pytest
import torch

def test_passes():
    import mmcv.ops

def test_asks_for_a_gpu():
    assert torch.rand(2, device='cuda').cuda().device.type == 'cpu'
    assert torch.nn.Linear(1, 1).to('cuda').weight.device.type == 'cpu'

def test_counts_on_a_gpu():
    if torch.cuda.is_available():
        torch.cuda.get_device_properties('cuda')

def test_lacks_a_package():
    import no_such_package

def test_is_wrong():
    assert 1 == 2, 'no'

@pytest.mark.skip(reason='in a hurry')
def test_is_left_out():
    pass
"""


@pytest.mark.slow
def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / 'run'
    (tmp_path / 'theirs' / 'tests').mkdir(parents=True)
    (tmp_path / 'theirs' / 'tests' / 'test_a.py').write_text(TESTS)
    (tmp_path / 'theirs' / 'tests' / 'test_b.py').write_text('import os; os._exit(1)')
    folder.mkdir()
    upstream_tests.laid_out(tmp_path / 'theirs', 'mmseg', folder)
    (case,) = upstream_tests.try_files(folder, ['tests/test_a.py'])
    assert case['passed'] == 2
    assert case['skipped'] == Counter({'Skipped: in a hurry': 1})
    kinds = {one['test'].partition('::')[2]: one['kind'] for one in case['failed']}
    assert kinds == {
        'test_counts_on_a_gpu': 'gpu',
        'test_lacks_a_package': 'package',
        'test_is_wrong': 'ours',
    }
    # What ends the process is an outcome, and does not end the run.
    (cut,) = upstream_tests.try_files(folder, ['tests/test_b.py'])
    assert [one['test'] for one in cut['failed']] == ['tests/test_b.py']
    record = {
        'what': 'A test',
        'packages': {
            'mmseg': {
                'source': 'theirs',
                'commit': '1a2b',
                'counts': upstream_tests.counts([case, cut]),
                'files': [case, cut],
            }
        },
    }
    table = upstream_tests.table(record)
    assert '## mmseg: 2 passed, 1 skipped, 4 failed' in table
    assert '| tests | 2 | 2 | 1: Skipped: in a hurry (1) | 4: needs a GPU (1)' in table
    assert 'needs no_such_package (1)' in table


@pytest.mark.parametrize(
    ('said', 'kind', 'why'),
    [
        ('RuntimeError: timm is not installed', 'package', 'timm'),
        ('please `pip install lap`', 'package', 'lap'),
        ("Failed to import custom modules from {'imports': ['mmpretrain']}",)
        + ('package', 'mmpretrain'),
        ('<urlopen error no>', 'network', 'weights or data from the network'),
        ("FileNotFoundError: No such file: 'a/b.png'", 'file', 'b.png is not shipped'),
        ('ValueError: x', 'ours', 'ValueError: x'),
    ],
)
def test_a_failure_has_a_reason(said: str, kind: str, why: str) -> None:
    assert upstream_tests.reason(said) == (kind, why)
