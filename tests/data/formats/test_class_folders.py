"""Folders of classes and tables give the same images and classes."""

from pathlib import Path

import labelled_folders as made
import pytest

from paperzoo.data.formats.recognise import read_folder
from paperzoo.errors import UserError


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


@pytest.mark.parametrize(
    ('head', 'row'),
    [
        ('"filename","label"\r\n', '"{}","{}"\r\n'),
        ('filename;label\n', '{};{}\n'),
        ('id\tfilename \tlabel\n', '7\t{}\t{}\n'),
    ],
)
def test_tables_with_quotes_and_other_delimiters(
    head: str, row: str, tmp_path: Path
) -> None:
    made.write_classes(tmp_path / 'images', classes=2, images=2)
    names = [f'种类 {label}/{number}.PNG' for label in (0, 1) for number in (0, 1)]
    text = head + ''.join(row.format(name, name[3]) for name in names)
    (tmp_path / 'val.csv').write_bytes(text.encode())
    found = read_folder(tmp_path)
    assert found.format == 'class_folders'
    assert found.classes == ('0', '1')
    assert found.splits() == {'val': 4}
    assert not found.left_out


def test_an_image_that_tables_name_twice(tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'images', classes=2, images=2)
    first = 'filename,label\n种类 0/0.PNG,a\n\n种类 1/0.PNG,b\n'
    (tmp_path / 'train.csv').write_text(f'{first}种类 0/0.PNG,b\n')
    (tmp_path / 'all.csv').write_text(f'{first}种类 1/1.PNG,b\n')
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 2, '': 1}
    assert [one.name for one in found.images] == ['a', 'b', 'b']
    again = 'has a class already,'
    image = 'images/种类 0/0.PNG'
    assert found.left_out == [
        f"{tmp_path / 'train.csv'}, line 5: {image} {again} 'a' of train.csv, line 2",
        f"{tmp_path / 'all.csv'}, line 2: {image} {again} 'a' of train.csv, line 2",
        f"{tmp_path / 'all.csv'}, line 4: images/种类 1/0.PNG {again} 'b' of "
        'train.csv, line 4',
    ]


def test_a_table_that_is_none(tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'images', classes=2, images=1)
    text = f'filename,label\n"{"a" * 200000}'
    (tmp_path / 'train.csv').write_text(text)
    with pytest.raises(UserError, match=r'train\.csv is no table'):
        read_folder(tmp_path)


def test_a_class_with_the_name_of_a_split(tmp_path: Path) -> None:
    made.write_classes(tmp_path, classes=2, images=2)
    for name in ('train', 'Test'):
        (tmp_path / '种类 0').rename(tmp_path / name)
        made.write_classes(tmp_path, classes=1, images=2)
    found = read_folder(tmp_path)
    assert found.classes == ('Test', 'train', '种类 0', '种类 1')
    assert found.splits() == {'': 8}
    assert not found.left_out
    # With classes in it, it is a split.
    made.write_classes(tmp_path / 'train', classes=2, images=2)
    found = read_folder(tmp_path)
    assert found.splits() == {'': 6, 'train': 4}
    assert [one.partition(':')[0] for one in found.left_out] == [
        'train/0.PNG',
        'train/1.PNG',
    ]


@pytest.mark.data
def test_real_characters(real_data: Path) -> None:
    found = read_folder(real_data / 'omniglot_small')
    assert found.splits() == {'train': 2720, 'test': 2120}
    assert len(found.classes) == 136 + 106
