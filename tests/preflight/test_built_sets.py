"""Data sets of any type are built and asked; panoptic PNGs are compared with JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import labelled_folders as made
import numpy as np
import pytest
from mmengine.config import Config

from paperzoo.errors import UserError
from paperzoo.preflight.boxes import box_flaw
from paperzoo.preflight.losses import check_losses
from paperzoo.preflight.run import check_before_test, preflight

IDS = np.zeros((8, 12), np.int64)
IDS[:, 6:] = 7
IDS[1:4, 1:5] = 300


def rgb(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids // 65536, ids // 256 % 256, ids % 256], -1).astype(np.uint8)


@pytest.fixture
def panoptic(tmp_path: Path) -> Callable[..., list]:
    """Look at three images of one cat (300) and grass (7)."""

    def look(*pixels: np.ndarray, **loader: Any) -> list:
        box = {'bbox': [1, 1, 4, 3], 'area': 12, 'iscrowd': 0}
        infos = [
            {'id': 300, 'category_id': 1, **box},
            {'id': 7, 'category_id': 2, **box},
        ]
        content = {
            'images': [
                {'id': k, 'file_name': f'{k}.jpg', 'width': 12, 'height': 8}
                for k in range(3)
            ],
            'annotations': [
                {'image_id': k, 'file_name': f'{k}.png', 'segments_info': infos}
                for k in range(3)
            ],
            'categories': [
                {'id': 1, 'name': 'cat', 'isthing': 1},
                {'id': 2, 'name': 'grass', 'isthing': 0},
            ],
        }
        (tmp_path / 'a.json').write_text(json.dumps(content))
        for k in range(3):
            cv2.imwrite(str(tmp_path / f'{k}.jpg'), np.zeros((8, 12, 3), np.uint8))
            plane = pixels[k] if k < len(pixels) else rgb(IDS)
            cv2.imwrite(str(tmp_path / f'{k}.png'), plane)
        data = {
            'type': 'paperzoo.CocoPanopticDataset',
            'data_root': str(tmp_path),
            'ann_file': 'a.json',
            'data_prefix': {'img': '', 'seg': ''},
            'metainfo': {
                'classes': ('cat', 'grass'),
                'thing_classes': ('cat',),
                'stuff_classes': ('grass',),
            },
        }
        cfg = {
            'default_scope': 'mmdet',
            'work_dir': str(tmp_path / 'work'),
            'train_dataloader': {'dataset': data},
        }
        return preflight(Config(cfg))

    return look


def test_a_sound_panoptic_set_is_passed(panoptic: Callable) -> None:
    assert panoptic() == []


@pytest.mark.parametrize(
    ('pixels', 'said', 'stops'),
    [
        (IDS.astype(np.uint8), 'are grey or of 16 bits', True),
        (rgb(IDS).astype(np.uint16), 'are grey or of 16 bits', True),
        (rgb(IDS)[:4], 'have another size than the JSON says', True),
        (rgb(np.where(IDS == 7, 0, IDS)), 'do not hold a segment', True),
        (rgb(np.where(IDS == 0, 99, IDS)), 'which count as void', False),
    ],
)
def test_pngs_that_do_not_fit(
    panoptic: Callable, pixels: np.ndarray, said: str, stops: bool
) -> None:
    (issue,) = panoptic(pixels)
    assert '1 of 3 panoptic PNGs' in issue.text
    assert said in issue.text
    assert issue.stops is stops


@pytest.fixture
def voc(tmp_path: Path) -> Callable[..., Config]:
    """Make a config of mmdet's XML data set, which the checks of files do not know."""

    def make(name: str) -> Config:
        for folder in ('Annotations', 'JPEGImages'):
            (tmp_path / folder).mkdir()
        box = (
            '<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>7</ymax></bndbox>'
        )
        (tmp_path / 'Annotations' / '1.xml').write_text(
            '<annotation><size><width>12</width><height>8</height></size><object>'
            f'<name>{name}</name><difficult>0</difficult>{box}</object></annotation>'
        )
        (tmp_path / 'train.txt').write_text('1\n')
        picture = np.zeros((8, 12, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'JPEGImages' / '1.jpg'), picture)
        data = {
            'type': 'XMLDataset',
            'data_root': str(tmp_path),
            'ann_file': 'train.txt',
            'data_prefix': {'sub_data_root': ''},
            'metainfo': {'classes': ('cat',)},
        }
        return Config(
            {
                'default_scope': 'mmdet',
                'work_dir': str(tmp_path / 'work'),
                'train_dataloader': {'dataset': data},
                'test_dataloader': {'dataset': {**data, 'test_mode': True}},
                'test_cfg': {},
            }
        )

    return make


def test_other_types_are_built_and_asked(voc: Callable, tmp_path: Path) -> None:
    cfg = voc('cat')
    assert preflight(cfg) == []
    cv2.imwrite(str(tmp_path / 'JPEGImages' / '1.jpg'), np.zeros((9, 9, 3), np.uint8))
    (issue,) = preflight(cfg)
    assert '12 x 8 stated, 9 x 9' in issue.text
    with pytest.raises(UserError, match=r'test_dataloader\.dataset\.data_prefix: 1 of'):
        check_before_test(cfg)


def test_objects_of_other_classes_only(voc: Callable) -> None:
    (issue,) = preflight(voc('dog'))
    assert 'none of 1 images has an object of the classes' in issue.text


def test_a_softmax_over_one_channel_is_refused() -> None:
    def found(**head: Any) -> int:
        return len(check_losses(Config({'model': {'decode_head': [head]}})))

    soft, sigmoid = {'type': 'CrossEntropyLoss'}, {'use_sigmoid': True}
    assert found(num_classes=2, out_channels=1, loss_decode=soft) == 1
    assert found(num_classes=1, loss_decode=[soft]) == 1
    assert found(num_classes=2, loss_decode=soft) == 0
    assert found(num_classes=2, out_channels=1, loss_decode=soft | sigmoid) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., list]:
    """Look at a folder of LabelMe's as `init` writes its config."""

    def look(some: list, classes: tuple = ('cat', 'dog'), **more: Any) -> list:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        made.write_labelme(root, some)
        step = {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True}
        data = {
            'type': 'paperzoo.LabelMeDataset',
            'data_root': str(root),
            'metainfo': {'classes': classes},
            'pipeline': [step],
        }
        cfg = {
            'default_scope': 'mmdet',
            'work_dir': str(tmp_path / 'work'),
            'train_dataloader': {'dataset': data | more},
        }
        return preflight(Config(cfg))

    return look


def pictures(*polygons: tuple[str, list[float]]) -> list[made.Scene]:
    """Return a picture of 40 x 30 for each object."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    return [
        made.Scene(f'{number}.jpg', pixels, [made.Thing(*one)])
        for number, one in enumerate(polygons)
    ]


def triangle(left: float, top: float, side: float = 8) -> list[float]:
    return [left, top, left + side, top, left, top + side]


INSIDE = triangle(5, 5)


def test_a_sound_folder_is_passed(folder: Callable) -> None:
    assert folder(pictures(('cat', INSIDE), ('dog', INSIDE))) == []


@pytest.mark.parametrize(
    ('polygon', 'said', 'stops'),
    [
        (triangle(35, 5), 'have a box that reaches out of their image', False),
        (triangle(0.2, 0.1, 0.5), 'have a box with a side below 1 pixel', True),
    ],
)
def test_boxes_of_a_folder(
    folder: Callable, polygon: list[float], said: str, stops: bool
) -> None:
    classes = ('cat', 'dog')
    one, three = pictures(('cat', polygon)), [('dog', INSIDE)] * 3
    (issue,) = folder([*one, *pictures(('cat', INSIDE), *three)[1:]])
    assert f'1 of 4 objects {said}' in issue.text
    assert '0.jpg: box' in issue.text
    assert not issue.stops
    (example,) = issue.examples
    assert example.file.name == '0.jpg'
    (issue,) = folder(pictures(*((name, polygon) for name in classes)))
    assert issue.stops is stops  # most are


def test_masks_that_lie_elsewhere(tmp_path: Path) -> None:
    """COCO with something missing is read as a folder is."""
    some = pictures(('cat', INSIDE), ('cat', INSIDE))
    mask = [[0.1, 0.1, 0.3, 0.1, 0.3, 0.3]]
    image = {'width': 40, 'height': 30}
    box = {'category_id': 1, 'bbox': [5, 5, 8, 8], 'iscrowd': 0}  # and no area
    content = {
        'images': [{'id': k, 'file_name': f'{k}.jpg', **image} for k in range(2)],
        'annotations': [
            {'id': k, 'image_id': k, 'segmentation': mask, **box} for k in range(2)
        ],
        'categories': [{'id': 1, 'name': 'cat'}],
    }
    for one in some:
        made.save(one, tmp_path / one.name)
    made.write_json(tmp_path / 'a.json', content)
    step = {'type': 'LoadAnnotations', 'with_mask': True}
    data = {'type': 'paperzoo.CocoFolderDataset', 'data_root': str(tmp_path)}
    cfg = {
        'default_scope': 'mmdet',
        'work_dir': str(tmp_path / 'work'),
        'train_dataloader': {'dataset': {**data, 'pipeline': [step]}},
    }
    (issue,) = preflight(Config(cfg))
    assert '2 of 2 objects have a mask that does not touch their box' in issue.text
    assert issue.stops


def test_names_of_the_config_and_of_the_folder(folder: Callable) -> None:
    some = pictures(('cat', INSIDE), ('dog', INSIDE), ('cow', INSIDE))
    (issue,) = folder(some)
    assert "objects of other names are left out: 1 of 'cow'" in issue.text
    assert not issue.stops
    first, second, third = folder(some, ('cat', 'Dog'))
    assert "'Dog': no class of" in first.text
    assert "It has 3: 'cat', 'cow', 'dog'" in first.text
    assert first.stops
    assert "1 of 'dog', 1 of 'cow'" in second.text
    assert "no object of 'Dog', which is never learned" in third.text
    first, _ = folder(some, ('cat', 'Dog'), test_mode=True)
    assert not first.stops  # no result for it


def test_a_class_without_objects_in_the_training(folder: Callable) -> None:
    some = pictures(('cat', INSIDE), ('dog', INSIDE))
    some[1].split = 'val'
    for one in some:
        one.name = f'{one.split}/{one.name}'
    (issue,) = folder(some, split='train')
    assert "no object of 'dog', which is never learned" in issue.text
    assert not issue.stops


def test_what_a_folder_leaves_out_is_said(folder: Callable) -> None:
    (issue,) = folder(
        pictures(('cat', INSIDE), ('dog', INSIDE), ('dog', triangle(60, 5)))
    )
    assert '1 labels or images of' in issue.text
    assert '2.json' in issue.text
    assert not issue.stops


@pytest.mark.parametrize(
    ('box', 'flaw'),
    [
        ((0, 0, 40, 30), ('', 0)),
        ((-1, 0, 41, 30), ('', 1)),
        ((-2, 0, 41, 30), ('beyond', 2)),
        ((30, 20, 15, 20), ('beyond', 10)),
        ((40, 5, 5, 5), ('outside', 5)),
        ((5, -9, 5, 9), ('outside', 9)),
        ((5, 5, 0.9, 9), ('flat', 0)),
    ],
)
def test_a_box_of_an_image(box: tuple, flaw: tuple[str, float]) -> None:
    assert box_flaw(box, (40, 30)) == flaw
