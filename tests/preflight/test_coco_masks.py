"""Sizes, masks and identities of COCO files are compared before anything is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from paperzoo.apis.check import draw_examples
from paperzoo.preflight.run import preflight

RLE = {'size': [30, 40], 'counts': [0, 1200]}


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., list]:
    """Look at two images of 40 x 30 with one object each; `change` is made before."""
    for number in range(2):
        picture = np.full((30, 40, 3), 50 * number, np.uint8)
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), picture)

    def find(
        change: Callable[[dict], object] = lambda _: None,
        kind: str = 'paperzoo.CocoDataset',
        encoding: str = 'utf-8',
        **loader: Any,
    ) -> list:
        content = {
            'images': [
                {'id': k, 'file_name': f'{k}.jpg', 'width': 40, 'height': 30}
                for k in range(2)
            ],
            'annotations': [
                {
                    'id': 10 + k,
                    'image_id': k,
                    'category_id': 1 + k,
                    'bbox': [5, 5, 10, 10],
                    'area': 100,
                    'iscrowd': 0,
                    'segmentation': [[5, 5, 15, 5, 15, 15]],
                }
                for k in range(2)
            ],
            'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
        }
        change(content)
        (tmp_path / 'a.json').write_text(json.dumps(content), encoding=encoding)
        step = {'type': 'LoadAnnotations', 'with_bbox': True, **loader}
        data = {
            'type': kind,
            'data_root': str(tmp_path),
            'ann_file': 'a.json',
            'data_prefix': {'img': ''},
            'metainfo': {'classes': ('cat', 'dog')},
            'pipeline': [step],
        }
        cfg = {
            'default_scope': 'mmdet',
            'work_dir': str(tmp_path / 'work'),
            'train_dataloader': {'dataset': data},
        }
        return preflight(Config(cfg))

    return find


def test_sound_masks_are_passed(look: Callable) -> None:
    assert look(with_mask=True) == []

    def crowd(content: dict) -> None:
        content['annotations'][0].update(iscrowd=1, segmentation=RLE)

    assert look(crowd, with_mask=True) == []


@pytest.mark.parametrize(
    ('mask', 'said', 'stops'),
    [
        ([], '1 of 2 objects have no mask (segmentation); loading them fails', True),
        (None, '1 of 2 objects have no mask', True),
        ({**RLE, 'size': [40, 30]}, 'run lengths of another size than', True),
        ({**RLE, 'counts': 'zzzz'}, 'run lengths that do not cover their image', True),
        ({**RLE, 'counts': [3, 4]}, 'run lengths that do not cover their image', True),
        ([[20, 20, 30, 20, 30, 25]], 'a mask that does not touch their box', False),
        ([[5, 5, 15, 5]], 'only polygons of fewer than 3 points', False),
    ],
)
def test_masks_that_do_not_belong(
    look: Callable, mask: Any, said: str, stops: bool, tmp_path: Path
) -> None:
    def change(content: dict) -> None:
        content['annotations'][1]['segmentation'] = mask

    (issue,) = look(change, with_mask=True)
    assert said in issue.text
    assert '(annotation ids 11)' in issue.text
    assert issue.stops is stops
    (example,) = issue.examples
    assert (example.file.name, example.box) == ('1.jpg', (5, 5, 10, 10))
    assert draw_examples([issue], tmp_path / 'page') is not None
    assert look(change) == []  # without masks nothing is asked of them


def test_run_lengths_that_polygons_pass_over(look: Callable) -> None:
    def change(content: dict) -> None:
        content['annotations'][1]['segmentation'] = RLE

    (issue,) = look(change, with_mask=True, poly2mask=False)
    assert 'which poly2mask=False drops' in issue.text


@pytest.mark.parametrize('wrong', [1, 2])
def test_sizes_that_are_not_the_images(look: Callable, wrong: int) -> None:
    def swap(content: dict) -> None:
        for image in content['images'][:wrong]:
            image['width'], image['height'] = image['height'], image['width']

    (issue,) = look(swap)
    assert f'{wrong} of 2 images that were looked at have another size' in issue.text
    assert '30 x 40 stated, 40 x 30' in issue.text
    assert issue.stops is (wrong == 2)
    assert {one.box for one in issue.examples} == {(0, 0, 30, 40)}
    assert len(issue.examples) == wrong


def test_exif_turns_an_image(look: Callable, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        Image.new('RGB', (40, 30)).save(tmp_path / f'{number}.jpg', exif=exif)
    (issue,) = look()
    assert '40 x 30 stated, 30 x 40' in issue.text
    assert 'EXIF orientation?' in issue.text
    assert issue.stops


@pytest.mark.parametrize(
    ('change', 'said', 'stops'),
    [
        (lambda d: d['images'][1].update(id=0), '2 images have the id 0', True),
        (lambda d: d['annotations'][0].update(category_id='1'), 'is a text', True),
        (lambda d: d['annotations'][0].update(category_id=9), 'do not list', False),
        (lambda d: d['annotations'][0].update(image_id=9), 'no image of', False),
        (lambda d: d['annotations'][0].update(bbox=[float('nan')] * 4), 'NaN', False),
    ],
)
def test_identities(
    look: Callable, change: Callable[[dict], object], said: str, stops: bool
) -> None:
    issue, *others = look(change)
    assert said in issue.text
    assert issue.stops is stops
    assert all("no object of 'cat'" in other.text for other in others)


@pytest.mark.parametrize(
    ('kind', 'stops'), [('paperzoo.CocoDataset', False), ('CocoDataset', True)]
)
def test_an_empty_root_category_of_a_class_name(
    look: Callable, kind: str, stops: bool
) -> None:
    root = {'id': 0, 'name': 'cat', 'supercategory': 'none'}
    first, *_ = look(lambda d: d['categories'].insert(0, root), kind)
    assert "the category 'cat' with the id 0 labels nothing" in first.text
    assert first.stops is stops  # mmdet's class gives it a label


def test_only_crowds_are_nothing_to_learn_from(look: Callable) -> None:
    (issue,) = look(lambda d: [one.update(iscrowd=1) for one in d['annotations']])
    assert '2 images, 0 boxes and 2 crowds' in issue.text
    assert issue.stops


@pytest.mark.parametrize(
    ('kind', 'wrong'), [('paperzoo.CocoDataset', 0), ('CocoDataset', 1)]
)
def test_a_byte_order_mark_is_said_where_mmdet_reads(
    look: Callable, kind: str, wrong: int
) -> None:
    issues = look(kind=kind, encoding='utf-8-sig')
    assert [one.text.count('byte order mark') for one in issues] == [1] * wrong
