"""Annotation files of any encoding and any ids; classes by name, in their own order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset as MMDetCocoDataset

from paperzoo.data.coco import CocoDataset
from paperzoo.data.coco_files import categories_by_name, read_annotation_file
from paperzoo.errors import UserError


def content(**changes: Any) -> dict:
    """Two images; the first has a cat at the left, a dog at the right."""
    return {
        'images': [
            {'id': number, 'file_name': f'{number}.png', 'width': 40, 'height': 30}
            for number in (1, 2)
        ],
        'annotations': [
            {
                'id': number,
                'image_id': 1,
                'category_id': number,
                'bbox': [20 * (number - 1), 5, 10, 10],
                'area': 100,
                'iscrowd': 0,
            }
            for number in (1, 2)
        ],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
        **changes,
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Any]:
    def make(
        written: dict,
        classes: Any = ('cat', 'dog'),
        encoding: str = 'utf-8',
        kind: type = CocoDataset,
    ) -> Any:
        (tmp_path / 'a.json').write_text(json.dumps(written), encoding=encoding)
        return kind(
            ann_file='a.json',
            data_root=str(tmp_path),
            data_prefix={'img': ''},
            metainfo={'classes': classes},
            pipeline=[],
        )

    return make


def labels_by_place(found: Any) -> dict[float, int]:
    return {one['bbox'][0]: one['bbox_label'] for one in found[0]['instances']}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_every_encoding_is_read(dataset: Callable, encoding: str) -> None:
    assert labels_by_place(dataset(content(), encoding=encoding)) == {0: 0, 20: 1}


def test_labels_are_places_in_the_class_list(dataset: Callable) -> None:
    turned = content(categories=content()['categories'][::-1])
    assert labels_by_place(dataset(turned)) == {0: 0, 20: 1}
    assert labels_by_place(dataset(turned, ('dog', 'cat'))) == {0: 1, 20: 0}
    # What is mended: mmdet counts in the file's order.
    assert labels_by_place(dataset(turned, kind=MMDetCocoDataset)) == {0: 1, 20: 0}


def test_a_class_that_is_not_in_the_file_moves_no_label(dataset: Callable) -> None:
    found = dataset(content(), ('bird', 'cat', 'dog'))
    assert labels_by_place(found) == {0: 1, 20: 2}


def test_ids_may_be_texts(dataset: Callable) -> None:
    written = content(
        categories=[{'id': 'c', 'name': 'cat'}, {'id': 'd', 'name': 'dog'}]
    )
    for one, category in zip(written['annotations'], 'cd', strict=True):
        one['category_id'], one['image_id'] = category, 'x'
    for one, number in zip(written['images'], 'xy', strict=True):
        one['id'] = number
    assert labels_by_place(dataset(written)) == {0: 0, 20: 1}


def test_an_empty_root_category_named_like_a_class_is_left_out(
    dataset: Callable,
) -> None:
    root = {'id': 0, 'name': 'cat', 'supercategory': 'none'}
    written = content(categories=[root, *content()['categories']])
    assert labels_by_place(dataset(written)) == {0: 0, 20: 1}
    known, notes = categories_by_name(written, 'a.json')
    assert known == {'cat': 1, 'dog': 2}
    (note,) = notes
    assert note.startswith("a.json: the category 'cat' with the id 0 labels nothing")


def test_annotations_without_ids_are_numbered(tmp_path: Path) -> None:
    written = content()
    for one in written['annotations']:
        del one['id']
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(written))
    assert [one['id'] for one in read_annotation_file(file)['annotations']] == [1, 2]


def two_of_one_name(written: dict) -> None:
    written['categories'][1]['name'] = 'cat'


def text_categories(written: dict) -> None:
    written['annotations'][0]['category_id'] = '1'


def text_images(written: dict) -> None:
    written['annotations'][1]['image_id'] = '1'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda d: d['images'][1].update(id=1), '2 images have the id 1'),
        (lambda d: d['annotations'][1].update(id=1), '2 annotations have the id 1'),
        (lambda d: d['categories'][1].update(id=1), '2 categories have the id 1'),
        (lambda d: d['annotations'][1].pop('id'), r'annotations\[1\] has no id'),
        (lambda d: d['images'][1].update(id=[3]), r'the id \[3\] of an image'),
        (lambda d: d['images'][1].update(id='x'), 'some ids of images are texts'),
        (lambda d: d.update(images={}), "'images' must be a list"),
        (two_of_one_name, r"ids 1, 2 are both of the category 'cat'"),
        (text_categories, r"category_id of 1 annotations is a text \('1'\)"),
        (text_images, r"image_id of 1 annotations is a text \('1'\)"),
    ],
)
def test_what_is_ambiguous_is_refused(
    dataset: Callable, change: Callable[[dict], object], said: str
) -> None:
    written = content()
    change(written)
    with pytest.raises(UserError, match=said):
        dataset(written)


@pytest.mark.parametrize('data', [b'', b'{', b'[]', b'\xff\x00\x01', b'[' * 100_000])
def test_what_is_no_file_of_annotations_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / 'a.json'
    file.write_bytes(data)
    with pytest.raises(UserError, match=r'a\.json'):
        read_annotation_file(file)


@pytest.mark.parametrize('key', ['classes', 'thing_classes'])
def test_one_text_is_no_list_of_classes(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=rf"metainfo\.{key} = 'cat' is one text"):
        CocoDataset(ann_file='a.json', data_root=str(tmp_path), metainfo={key: 'cat'})


def test_classes_twice_are_refused(dataset: Callable) -> None:
    with pytest.raises(UserError, match=r"metainfo\.classes names 'cat' twice"):
        dataset(content(), ('cat', 'cat'))
