"""Every form in which few-shot sets are shipped gives the same images and classes."""

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bombs import write_bomb

from paperzoo.data.few_shot_sources import (
    LabelledImages,
    check_disjoint,
    locate_split,
)
from paperzoo.errors import UserError

CLASSES = ('ant', 'bee', 'cat')


def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1])


def read(root: Path, layout: str, **kwargs: Any) -> LabelledImages:
    reader, place = locate_split(str(root), 'train', layout, **kwargs)
    return reader(place)


def check(found: LabelledImages, named: bool = True) -> None:
    expected = pictures()
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.named is named
    if named:
        assert found.classes == CLASSES
    for index, picture in enumerate(expected):
        np.testing.assert_array_equal(found.read(index), picture)


def write_folders(root: Path) -> None:
    for index, picture in enumerate(pictures()):
        write_picture(root / CLASSES[index // 2] / f'{index}.png', picture)


def test_folders(tmp_path: Path) -> None:
    write_folders(tmp_path / 'train')
    (tmp_path / 'train' / 'readme.txt').write_text('no image')
    check(read(tmp_path, 'folders'))


def test_folders_with_a_list_of_classes(tmp_path: Path) -> None:
    write_folders(tmp_path / 'data')
    (tmp_path / 'train.txt').write_text('cat\nant\n')
    found = read(tmp_path, 'folders', ann_file='{split}.txt', img_path='data')
    assert found.classes == ('cat', 'ant')
    np.testing.assert_array_equal(found.read(0), pictures()[4])
    (tmp_path / 'train.txt').write_text('cat\ndog\n')
    with pytest.raises(UserError, match=r"train\.txt lists 'dog'"):
        read(tmp_path, 'folders', ann_file='{split}.txt', img_path='data')


def test_nested_folders_name_their_classes_in_full(tmp_path: Path) -> None:
    """As Omniglot's alphabets, whose characters have equal names."""
    for alphabet in ('Greek', 'Latin'):
        write_picture(tmp_path / 'train' / alphabet / 'c01' / '1.png', pictures()[0])
    assert read(tmp_path, 'folders').classes == ('Greek/c01', 'Latin/c01')


def test_csv(tmp_path: Path) -> None:
    lines = ['filename,label']
    for index in (5, 0, 2, 3, 1, 4):
        write_picture(tmp_path / 'images' / f'{index}.png', pictures()[index])
    lines += [f'{index}.png,{CLASSES[index // 2]}' for index in (4, 5, 0, 1, 2, 3)]
    (tmp_path / 'train.csv').write_text('\n'.join(lines) + '\n')
    check(read(tmp_path, 'csv'))
    with pytest.raises(UserError, match='Give img_path'):
        read(tmp_path, 'csv', img_path='')
    (tmp_path / 'train.csv').write_text('a,b\n1,2\n')
    with pytest.raises(UserError, match='filename and label'):
        read(tmp_path, 'csv')


def test_json(tmp_path: Path) -> None:
    names = []
    for index, picture in enumerate(pictures()):
        names.append(f'pictures/{index}.png')
        write_picture(tmp_path / names[-1], picture)
    labels = [2, 2, 1, 1, 0, 0]
    content: dict[str, list] = {'image_names': names, 'image_labels': labels}
    content['label_names'] = ['cat', 'bee', 'ant']
    (tmp_path / 'train.json').write_text(json.dumps(content))
    check(read(tmp_path, 'json'))
    (tmp_path / 'train.json').write_text(json.dumps({**content, 'image_labels': [7]}))
    with pytest.raises(UserError, match='not a list of images'):
        read(tmp_path, 'json')


def encoded() -> list[np.ndarray]:
    return [cv2.imencode('.png', p[..., ::-1])[1].reshape(-1) for p in pictures()]


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        # miniImageNet as a cache of images and their places.
        (
            {
                'image_data': pictures(),
                'class_dict': {'cat': [4, 5], 'ant': [0, 1], 'bee': [2, 3]},
            },
            True,
        ),
        # miniImageNet and CIFAR-FS with labels that go on counting from split to split.
        ({'data': pictures(), 'labels': [64, 64, 70, 70, 79, 79]}, False),
        (
            {
                'data': pictures(),
                'labels': [3, 3, 5, 5, 9, 9],
                'catname2label': {'ant': 3, 'bee': 5, 'cat': 9},
            },
            True,
        ),
    ],
)
def test_one_pickle(tmp_path: Path, content: dict, named: bool) -> None:
    (tmp_path / 'train.pkl').write_bytes(pickle.dumps(content, protocol=2))
    check(read(tmp_path, 'pickle'), named)


def test_tiered_imagenet(tmp_path: Path) -> None:
    labels = {
        'label_specific': np.array([0, 0, 1, 1, 2, 2]),
        'label_specific_str': list(CLASSES),
        'label_general': np.zeros(6, int),
    }
    (tmp_path / 'train_labels.pkl').write_bytes(pickle.dumps(labels, protocol=2))
    (tmp_path / 'train_images_png.pkl').write_bytes(pickle.dumps(encoded(), 2))
    files = dict(ann_file='{split}_labels.pkl', img_path='{split}_images_png.pkl')
    check(read(tmp_path, 'pickle', **files))


def test_grey_pixels_become_three_channels(tmp_path: Path) -> None:
    grey = pictures()[..., 0]
    content = {'data': grey, 'labels': [0] * 6}
    (tmp_path / 'train.pkl').write_bytes(pickle.dumps(content))
    found = read(tmp_path, 'pickle').read(3)
    np.testing.assert_array_equal(found, np.stack([grey[3]] * 3, axis=-1))


@pytest.mark.parametrize(
    'content',
    [
        {'pictures': 1},
        {'data': pictures(), 'labels': [0]},
        {'data': pictures(), 'class_dict': {'ant': [0, 1]}},
    ],
)
def test_other_pickles_are_described(tmp_path: Path, content: dict) -> None:
    (tmp_path / 'train.pkl').write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r'train\.pkl: its keys are'):
        read(tmp_path, 'pickle')


def test_shared_classes_are_named() -> None:
    check_disjoint('train', CLASSES, 'val', ('dog',))
    with pytest.raises(UserError, match=r"'train' and 'test' share 2 .*: 'ant', 'cat'"):
        check_disjoint('train', CLASSES, 'test', ('cat', 'dog', 'ant'))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'MISSING.*train\.csv') as error:
        read(tmp_path, 'csv')
    assert 'dmf_tiny_glyphs' in str(error.value)
    with pytest.raises(UserError, match="layout='zip'"):
        read(tmp_path, 'zip')
    (tmp_path / 'train').mkdir()
    with pytest.raises(UserError, match='no images there'):
        read(tmp_path, 'folders')


def test_an_image_that_would_fill_the_memory_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path / 'train')
    write_bomb(tmp_path / 'train' / 'ant' / '0.png', 60_000)
    with pytest.raises(UserError, match=r'0\.png cannot be read'):
        read(tmp_path, 'folders').read(0)


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path / 'train')
    (tmp_path / 'train' / 'ant' / '0.png').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'ant.0\.png cannot be read'):
        read(tmp_path, 'folders').read(0)


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """Two classes of two pictures each, as images/a_0.png."""
    for name in 'ab':
        for number in range(2):
            file = tmp_path / 'images' / f'{name}_{number}.png'
            file.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(file), np.full((6, 6, 3), 90 * number, np.uint8))
    return tmp_path


def read_rows(root: Path, *rows: str, encoding: str = 'utf-8') -> LabelledImages:
    text = '\n'.join(['filename,label', *rows]) + '\n'
    (root / 'train.csv').write_text(text, encoding=encoding)
    reader, place = locate_split(str(root), 'train', 'csv')
    return reader(place)


ROWS = ('a_0.png,a', 'a_1.png,a', 'b_0.png,b', 'b_1.png,b')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_tables_of_any_encoding(two_classes: Path, encoding: str) -> None:
    assert read_rows(two_classes, *ROWS, encoding=encoding).classes == ('a', 'b')


@pytest.mark.parametrize(
    ('row', 'said'),
    [
        ('a_0.png', r'line 6: .* has no filename or no label'),
        ('a_0.png,', r'line 6: .* has no filename or no label'),
        ('none.png,b', r'1 of 5 images that are not there, such as .*none\.png'),
        ('a_0.png,a', r"a_0\.png twice, as 'a' and 'a'"),
        ('../images/a_0.png,b', r"a_0\.png twice, as 'a' and 'b'"),
    ],
)
def test_rows_that_cannot_be_meant(two_classes: Path, row: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_rows(two_classes, *ROWS, row)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    for name in (
        'cat/0.png',
        'cat/.ipynb_checkpoints/0.png',
        'cat/._0.png',
        '.x/0.png',
    ):
        file = tmp_path / 'train' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))
    reader, place = locate_split(str(tmp_path), 'train', 'folders')
    found = reader(place)
    assert found.classes == ('cat',)
    assert [path.name for path in found.images] == ['0.png']


@pytest.mark.parametrize(
    ('images', 'said'),
    [
        (np.zeros((4, 3, 8, 8), np.uint8), r'\(3, 8, 8\)\. .*transpose\(0, 2, 3, 1\)'),
        (np.zeros((4, 8, 8, 4), np.uint8), r'\(8, 8, 4\)\. Write height x width x 3'),
        (np.zeros((4, 8, 8, 3), np.float32), 'are of float32, from 0 to 0'),
        ([np.ones((8, 8, 3))] * 4, 'are of float64, from 1 to 1'),
    ],
)
def test_pixels_of_another_kind(tmp_path: Path, images: Any, said: str) -> None:
    (tmp_path / 'train.pkl').write_bytes(
        pickle.dumps({'data': images, 'labels': [0, 0, 1, 1]})
    )
    reader, place = locate_split(str(tmp_path), 'train', 'pickle')
    with pytest.raises(UserError, match=rf'train\.pkl: the images .*{said}'):
        reader(place)
