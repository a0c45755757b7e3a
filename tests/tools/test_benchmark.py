"""benchmark: the record that the command writes."""

import json
import sys
from pathlib import Path

import pytest
import torch
from exported_files import write_detector

from paperzoo.errors import UserError
from paperzoo.tools import benchmark


@pytest.mark.parametrize('name', ['fcos_tiny_shapes', 'knet_tiny_shapes_semantic'])
def test_a_record_is_written(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command = ['benchmark', name, '--size', '64', '32', '--batch-size', '2', '--amp']
    command += ['--repeats', '2', '--warm-up', '0', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', command)
    benchmark.main()
    record = json.loads((tmp_path / 'work_dirs' / name / 'benchmark.json').read_text())
    assert record['width_height'] == [64, 32]
    assert record['amp'] is True
    assert record['parameters'] == record['trainable_parameters'] > 10_000
    assert record['gflops_per_image'] > 0
    assert record['latency_ms_p90'] >= record['latency_ms_median'] > 0
    assert record['versions']['torch'] == torch.__version__
    assert 'images_per_second' in capsys.readouterr().out


def test_an_unknown_device_is_one_message(tmp_path: Path, monkeypatch) -> None:
    command = ['benchmark', 'fcos_tiny_shapes', '--device', 'warp']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(UserError, match='--device warp'):
        benchmark.main()


def test_exported_files_are_measured_beside_the_model(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    file = write_detector(tmp_path / 'a.onnx')
    command = ['benchmark', 'fcos_tiny_shapes', '--size', '64', '32', '--repeats', '1']
    command += ['--warm-up', '0', '--device', 'cpu', '--exported', str(file)]
    monkeypatch.setattr(sys, 'argv', [*command, '--out', str(tmp_path / 'b.json')])
    benchmark.main()
    found = json.loads((tmp_path / 'b.json').read_text())['side_by_side']
    assert list(found) == ['eager', str(file)]
    assert found['eager']['ratio'] == 1.0
    # The file always finds the same: no network takes part.
    assert 0 < found[str(file)]['ratio'] < 1
    assert str(file) in capsys.readouterr().out
