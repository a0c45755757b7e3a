"""A result file is complete, and an earlier one is never replaced."""

import json
from pathlib import Path

import torch

from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import checkpoint_record, run_record


def test_a_second_record_does_not_replace_the_first(tmp_path: Path) -> None:
    first = write_json(tmp_path / 'made' / 'x.json', {'ap': torch.tensor(0.5)})
    second = write_json(tmp_path / 'made' / 'x.json', {'ap': 0.25})
    assert (first.name, second.name) == ('x.json', 'x_2.json')
    assert json.loads(first.read_text()) == {'ap': 0.5}
    assert json.loads(second.read_text()) == {'ap': 0.25}
    assert sorted(path.name for path in first.parent.iterdir()) == [
        'x.json',
        'x_2.json',
    ]


def test_hash_of_a_known_file(tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(b'abc')
    record = checkpoint_record(str(tmp_path / 'a.pth'))
    assert record['checkpoint_sha256'].startswith('ba7816bf8f01cfea414140de5dae2223')
    assert checkpoint_record('http://x/y.pth') == {'checkpoint': 'http://x/y.pth'}


def test_run_record_names_versions_and_device() -> None:
    record = run_record()
    assert record['versions']['torch'] == torch.__version__
    assert {'python', 'mmengine', 'mmdet', 'numpy'} <= set(record['versions'])
    assert record['device']
