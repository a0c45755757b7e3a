"""Folders of classes and tables give the same images and classes."""

from pathlib import Path

import labelled_folders as made
import pytest

from paperzoo.data.formats.recognise import read_folder


def test_folders(tmp_path: Path) -> None:
    made.write_classes(tmp_path, classes=3, images=2)
    (tmp_path / 'stray.png').write_bytes(
        (tmp_path / '种类 0' / '0.PNG').read_bytes()
    )  # fmt: skip
    found = read_folder(tmp_path)
    assert found.format == 'class_folders'
    assert found.classes == ('种类 0', '种类 1', '种类 2')
    assert found.splits() == {'': 6}
    assert found.left_out == ['stray.png: it lies in no folder of a class']
    assert [one.name for one in found.images[:3]] == ['种类 0', '种类 0', '种类 1']


def test_folders_with_splits(tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'train', classes=3, images=2)
    made.write_classes(tmp_path / 'valid', classes=2, images=1)
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 6, 'val': 2}
    assert len(found.classes) == 3


def test_tables(tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'images', classes=2, images=2)
    rows = [
        'filename,label',
        '种类 0/0.PNG,a',
        '种类 1/0.PNG, b',
        'lost.png,a',
        '种类 0/1.PNG,',
    ]
    (tmp_path / 'train.csv').write_text('\n'.join(rows), encoding='utf-8-sig')
    found = read_folder(tmp_path)
    assert found.classes == ('a', 'b')
    assert found.splits() == {'train': 2}
    assert [one.partition(', line ')[2] for one in found.left_out] == [
        "4: no image 'lost.png' in the folder",
        '5: no label',
    ]


@pytest.mark.data
def test_real_characters(real_data: Path) -> None:
    found = read_folder(real_data / 'omniglot_small')
    assert found.splits() == {'train': 2720, 'test': 2120}
    assert len(found.classes) == 136 + 106
