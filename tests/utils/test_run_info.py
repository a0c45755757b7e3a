"""What a run was made with."""

from pathlib import Path

import torch

from paperzoo.utils.run_info import checkpoint_info, run_info, trained_classes


def test_hash_of_a_known_file(tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(b'abc')
    info = checkpoint_info(str(tmp_path / 'a.pth'))
    assert info['checkpoint_sha256'].startswith('ba7816bf8f01cfea414140de5dae2223')
    assert checkpoint_info('http://x/y.pth') == {'checkpoint': 'http://x/y.pth'}


def test_run_info_names_versions_and_device() -> None:
    info = run_info()
    assert info['versions']['torch'] == torch.__version__
    assert {'python', 'mmengine', 'mmdet', 'numpy'} <= set(info['versions'])
    assert info['device']


def test_classes_of_a_checkpoint() -> None:
    assert trained_classes({'dataset_meta': {'classes': ['a', 'b']}}) == ['a', 'b']
    assert trained_classes({'dataset_meta': {'classes': 'cat'}}) == ['cat']
    assert trained_classes({'dataset_meta': None, 'classes': ('a',)}) == ['a']
    assert trained_classes({'dataset_meta': {'classes': ()}}) == []
