"""What a run was made with."""

from pathlib import Path

import torch

from paperzoo.utils.run_info import checkpoint_record, run_record


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
