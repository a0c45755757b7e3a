"""`benchmarks/gpu.py` runs as a whole without a GPU, at tiny sizes."""

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / 'benchmarks'))

import _gpu_sections
import gpu

slow = pytest.mark.slow
# A compiler, a large head, processes of their own.
LONG = ('fcos', 'fcos_compiled', 'graphs', 'knet', 'tests', 'trainings')


@pytest.mark.parametrize(
    'name',
    [
        *('ops', 'dmf'),
        *(pytest.param(name, marks=slow) for name in LONG),
    ],
)
def test_each_section_runs(name: str, tmp_path: Path) -> None:
    rows = tmp_path / 'rows.jsonl'
    options = ['--device', 'cpu', '--tiny', '--end', str(time.time() + 3600)]
    gpu.main([*options, '--section', name, '--rows', str(rows)])
    found = gpu.read_rows(rows)
    assert found
    for row in found.values():
        assert 'failed' not in row, found
        if name == 'trainings':
            assert row['finished']
            assert 0 <= row['metrics']['bbox_mAP'] <= 1
        elif name != 'tests':
            assert row['ratio'] > 0
            assert len(row['seconds']) == 2


def test_all_sections_have_a_share() -> None:
    assert list(gpu.SHARES) == ['tests', *(n for n in gpu.SHARES if n != 'tests')]
    assert set(gpu.SHARES) == set(_gpu_sections.SECTIONS)
    assert sum(gpu.SHARES.values()) == 480
    assert all(name in gpu.__doc__ for name in gpu.SHARES)


@pytest.mark.slow
def test_the_file_holds_what_worked_and_what_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One section fails at once, one in a row, one has no time; the rest is there."""
    script = tmp_path / 'sections.py'
    script.write_text(
        'import sys, time, json\n'
        'name, rows = sys.argv[2], sys.argv[4]\n'
        "open(rows, 'w').write(json.dumps({'first': {'ratio': 1.0}}) + '\\n{\"half')\n"
        "time.sleep(600 if name == 'knet' else 0)\n"
        "sys.exit('no such device' if name == 'dmf' else 0)\n"
    )
    monkeypatch.setattr(gpu, '__file__', str(script))
    out = tmp_path / 'gpu.json'
    names = ('ops', 'knet', 'dmf')
    options = ['--device', 'cpu', '--seconds', '20', '--out', str(out)]
    gpu.main([*options, '--only', *names])
    record = json.loads(out.read_text())
    sections = record['sections']
    assert list(sections) == list(names)
    outcomes = [sections[name]['outcome'] for name in names]
    assert outcomes == ['done', 'out of time', 'failed']
    assert 'no such device' in sections['dmf']['error']
    assert all(one['rows'] == {'first': {'ratio': 1.0}} for one in sections.values())
    assert sum(one['seconds'] for one in sections.values()) < 20
    assert record['commit']
    assert record['versions']['torch']


def test_a_row_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def section(_: Any) -> Any:
        yield 'one', lambda: 1 / 0
        yield 'two', lambda: {'ratio': 2}

    monkeypatch.setitem(_gpu_sections.SECTIONS, 'ops', section)
    rows = tmp_path / 'rows.jsonl'
    gpu.main(['--device', 'cpu', '--section', 'ops', '--rows', str(rows)])
    assert gpu.read_rows(rows) == {
        'one': {'failed': 'ZeroDivisionError: division by zero'},
        'two': {'ratio': 2},
    }


def test_a_graph_is_warmed_up_recorded_and_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a pretended `torch.cuda`: the order of what is asked of it."""
    said: list[str] = []

    def record(_: Any) -> nullcontext:
        said.append('record')
        return nullcontext()

    stream = SimpleNamespace(wait_stream=lambda _: said.append('wait'))
    recorded = SimpleNamespace(replay=lambda: said.append('replay'))
    for name, fake in {
        'Stream': lambda: stream,
        'current_stream': lambda: stream,
        'stream': lambda _: nullcontext(),
        'CUDAGraph': lambda: recorded,
        'graph': record,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    _gpu_sections.graphed(lambda: said.append('run'), 'cuda')()
    assert said == ['wait', 'run', 'run', 'run', 'wait', 'record', 'run', 'replay']
