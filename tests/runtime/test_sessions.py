"""Exported files from anywhere: opened, run, or refused with one message."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported_files import card_text, detection_card, write_detector
from onnx import TensorProto, helper

from paperzoo.errors import UserError
from paperzoo.runtime.sessions import need, open_session


def test_a_file_runs(tmp_path: Path) -> None:
    session = open_session(write_detector(tmp_path / 'a.onnx'), threads=1)
    assert session.card == detection_card()
    found = session.run(
        {
            'images': np.zeros((1, 3, 32, 32), np.uint8),
            'image_size': np.array([32, 32]),
            'result_size': np.array([32, 32]),
        }
    )
    assert found['labels'].tolist() == [[1, 0, 0]]


def test_a_wrong_input_is_one_message(tmp_path: Path) -> None:
    session = open_session(write_detector(tmp_path / 'a.onnx'))
    with pytest.raises(UserError, match='could not take this input'):
        session.run({'images': np.zeros((1, 3), np.float64)})


@pytest.mark.parametrize('data', [b'', b'no model', b'\x08\x0a' * 50])
def test_damaged_files_are_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / 'a.onnx'
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.onnx' (is damaged|was not written)"):
        open_session(file)


def test_others_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='not written by paperzoo export'):
        open_session(write_detector(tmp_path / 'a.onnx', text=''))
    with pytest.raises(UserError, match='no such file'):
        open_session(tmp_path / 'b.onnx')


def test_a_card_must_tell_the_files_own_input(tmp_path: Path) -> None:
    fixed = write_detector(tmp_path / 'a.onnx', images=(1, 3, 64, 64))
    with pytest.raises(UserError, match='its metadata says'):
        open_session(fixed)
    lying = write_detector(tmp_path / 'b.onnx', detection_card(size=(64, 96), batch=1))
    with pytest.raises(UserError, match='its metadata says'):
        open_session(lying)
    right = detection_card(size=(64, 96), batch=1)
    open_session(write_detector(tmp_path / 'c.onnx', right, images=(1, 3, 96, 64)))


def test_a_card_for_another_task_is_refused_when_it_runs(tmp_path: Path) -> None:
    from paperzoo.apis.inference import load

    model = load(write_detector(tmp_path / 'a.onnx', text=card_text(task='instance')))
    with pytest.raises(UserError, match="output 'masks' is missing"):
        model(np.zeros((8, 8, 3), np.uint8))


def test_files_that_a_file_names_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / 'secret.txt'
    secret.write_bytes(b'\x00' * 64)
    model = onnx.load(write_detector(tmp_path / 'a.onnx'))
    outside = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[4])
    outside.data_location = TensorProto.EXTERNAL
    for key, value in {'location': 'secret.txt', 'offset': '0', 'length': '16'}.items():
        outside.external_data.add(key=key, value=value)
    model.graph.initializer.append(outside)
    model.graph.node.append(helper.make_node('Identity', ['w'], ['w2']))
    model.graph.output.append(
        helper.make_tensor_value_info('w2', TensorProto.FLOAT, [4])
    )
    (tmp_path / 'a.onnx').write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match='damaged, or no model that can run here'):
        open_session(tmp_path / 'a.onnx')


def test_a_missing_runtime_is_one_message() -> None:
    with pytest.raises(UserError, match='no_such_runtime is not installed: pip'):
        need('no_such_runtime')


def test_running_a_file_tells_nobody(tmp_path: Path) -> None:
    """By itself onnxruntime keeps a number of the machine, and sends what is run."""
    file = write_detector(tmp_path / 'm.onnx')
    homes = {name: tmp_path / name for name in ('HOME', 'XDG_CACHE_HOME', 'TMPDIR')}
    for home in homes.values():
        home.mkdir()
    # Under test runners and in CI it would be silent anyway.
    usual = {
        name: os.environ[name] for name in ('PATH', 'PYTHONPATH') if name in os.environ
    }
    code = 'from paperzoo.runtime.sessions import open_session as run; run({!r})'
    subprocess.run(
        [sys.executable, '-c', code.format(str(file))],
        check=True,
        cwd=Path(__file__).parents[2],
        env={**usual, **{name: str(home) for name, home in homes.items()}},
    )
    assert [path for home in homes.values() for path in home.rglob('*')] == []
