"""What a training would stumble over is said first; sound data by nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fake_runner import FakeRunner
from hypothesis import given
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from paperzoo.apis.build import build_dataset
from paperzoo.errors import UserError
from paperzoo.preflight import run as preflight
from paperzoo.preflight.coco_files import count_boxes
from paperzoo.preflight.datasets import data_sets


def coco(boxes: list[list[float]], classes: tuple[str, ...] = ('cat', 'dog')) -> dict:
    """Four images of 40x30; box i lies in image i % 4 and is of class i % 2."""
    return {
        'images': [
            {'id': i, 'file_name': f'{i}.jpg', 'width': 40, 'height': 30}
            for i in range(4)
        ],
        'annotations': [
            {
                'id': 100 + i,
                'image_id': i % 4,
                'category_id': 1 + i % 2,
                'bbox': box,
                'area': max(box[2] * box[3], 0.0),
                'iscrowd': 0,
            }
            for i, box in enumerate(boxes)
        ],
        'categories': [{'id': 1 + i, 'name': name} for i, name in enumerate(classes)],
    }


GOOD = [[5.0, 5.0, 10.0, 10.0]] * 8


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Config]:
    """Make a config of a small data set on disk; arguments change it."""
    (tmp_path / 'images').mkdir()
    for number in range(4):
        picture = np.full((30, 40, 3), 50 * number, np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / f'{number}.jpg'), picture)

    def make(
        train: dict | None = None, val: dict | None = None, heads: int = 2, **data: Any
    ) -> Config:
        for name, content in (('train', train), ('val', val)):
            text = json.dumps(content or coco(GOOD))
            (tmp_path / f'{name}.json').write_text(text)
        dataset = {
            'type': 'CocoDataset',
            'data_root': str(tmp_path),
            'ann_file': 'train.json',
            'data_prefix': {'img': 'images/'},
            'metainfo': {'classes': ('cat', 'dog')},
            'filter_cfg': {'filter_empty_gt': True, 'min_size': 8},
            **data,
        }
        val_set = {**dataset, 'ann_file': 'val.json', 'test_mode': True}
        return Config(
            {
                'default_scope': 'mmdet',
                'work_dir': str(tmp_path / 'work'),
                'model': {'bbox_head': {'type': 'FCOSHead', 'num_classes': heads}},
                'train_dataloader': {'dataset': dataset},
                'val_dataloader': {'dataset': val_set},
                'val_cfg': {'type': 'ValLoop'},
            }
        )

    return make


def errors(cfg: Config) -> list[str]:
    return [one.text for one in preflight.preflight(cfg) if one.stops]


def warnings(cfg: Config) -> list[str]:
    return [one.text for one in preflight.preflight(cfg) if not one.stops]


def test_sound_data_is_passed(project: Callable) -> None:
    assert preflight.preflight(project()) == []


def test_classes_that_are_not_in_the_file(project: Callable) -> None:
    own = project(metainfo={})  # mmdet's 80 classes: cat and dog, but 78 more
    assert "78 of its 80 classes ('person'" in errors(own)[1]
    assert "metainfo=dict(classes=('cat', 'dog',))" in errors(own)[1]
    assert errors(own)[0].startswith('model.bbox_head.num_classes = 2, but')
    other = project(metainfo={'classes': ('Cat', 'Dog')})
    assert len(errors(other)) == 2  # training and validation
    assert errors(other)[0].startswith('train_dataloader.dataset.metainfo.classes:')
    assert 'none of its classes is a category' in errors(other)[0]
    assert 'train.json' in errors(other)[0]


def test_order_of_classes(project: Callable) -> None:
    swapped = project(metainfo={'classes': ('dog', 'cat')})
    assert errors(swapped) == []
    assert "label 0 is 'cat'" in warnings(swapped)[0]
    between = project(val=coco(GOOD, ('dog', 'cat')))
    (message,) = errors(between)
    assert message.startswith('val_dataloader.dataset.ann_file: label 0 is')
    assert "'cat' in train_dataloader.dataset.ann_file" in message


def test_number_of_classes_of_all_heads(project: Callable) -> None:
    cfg = project()
    cfg.model = {
        'rpn_head': {'num_classes': 1},
        'backbone': {'num_classes': 1000},
        'roi_head': {
            'bbox_head': [{'num_classes': 2}, {'num_classes': 80}],
            'mask_head': {'num_classes': 81, 'loss_mask': {'num_classes': 5}},
        },
    }
    found = [message.split(',')[0] for message in errors(cfg)]
    assert found == [
        'model.roi_head.bbox_head.1.num_classes = 80',
        'model.roi_head.mask_head.num_classes = 81',
    ]
    assert '--cfg-options model.roi_head.mask_head.num_classes=2' in errors(cfg)[1]


@pytest.mark.parametrize(
    'limits', [{'filter_empty_gt': True}, {'min_size': 31}], ids=['boxes', 'size']
)
def test_nothing_left_to_train_on(project: Callable, limits: dict) -> None:
    boxes = GOOD if 'min_size' in limits else []
    cfg = project(coco(boxes), filter_cfg=limits)
    (message,) = errors(cfg)
    assert message.startswith('train_dataloader.dataset: no image is left')
    assert f'4 images, {len(boxes)} boxes' in message
    built = CocoDataset(
        **{k: v for k, v in cfg.train_dataloader.dataset.items() if k != 'type'},
        lazy_init=True,
    )
    built.data_list = built.load_data_list()
    assert built.filter_data() == []


def test_boxes_that_mmdet_drops_are_counted(project: Callable) -> None:
    boxes = [*GOOD, [5, 5, 0, 4], [50, 5, 4, 4], [-7, 3, 20, 4], [1, 1, 3, 0.5]]
    flat, outside, beyond = warnings(project(coco(boxes)))
    assert '2 boxes have no area or a side below 1 pixel' in flat
    assert '(annotation ids 108, 111)' in flat
    assert '1 boxes lie outside of their image' in outside
    assert '(annotation ids 109)' in outside
    assert '1 boxes reach out of their image' in beyond
    assert '(annotation ids 110)' in beyond


numbers = st.integers(-60, 100).map(lambda x: x / 2)


@given(boxes=st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=12))
def test_as_many_boxes_are_kept_as_mmdet_keeps(boxes: list) -> None:
    content = coco([list(box) for box in boxes])
    dataset = CocoDataset(
        lazy_init=True,
        data_prefix={'img': ''},
        metainfo={'classes': ('cat', 'dog')},
    )
    dataset.cat_ids, dataset.cat2label = [1, 2], {1: 0, 2: 1}
    kept = {}
    for image in content['images']:
        rows = [one for one in content['annotations'] if one['image_id'] == image['id']]
        info = dataset.parse_data_info(
            {'raw_img_info': {**image, 'img_id': image['id']}, 'raw_ann_info': rows}
        )
        kept[image['id']] = len(info['instances'])
    counts = count_boxes(content, {'cat', 'dog'})
    assert counts.kept == sum(kept.values())
    assert counts.images == {number for number, count in kept.items() if count}
    assert counts.kept + len(counts.flat) + len(counts.outside) == len(boxes)


def test_images_missing_or_cut_off(project: Callable, tmp_path: Path) -> None:
    cfg = project()
    whole = (tmp_path / 'images' / '1.jpg').read_bytes()
    (tmp_path / 'images' / '1.jpg').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'images' / '2.jpg').unlink()
    missing, broken = errors(cfg)[:2]
    assert missing.startswith('train_dataloader.dataset.data_prefix.img: 1 of 4')
    assert str(tmp_path / 'images' / '2.jpg') in missing
    assert '1 of 4 images that were looked at are empty, cut off' in broken
    assert str(tmp_path / 'images' / '1.jpg') in broken


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('{"images": [', 'is no JSON'),
        ('[]', 'is no object with images, annotations, categories'),
        ('{"images": [], "categories": []}', "has no 'annotations'"),
    ],
)
def test_no_annotation_file_at_all(
    project: Callable, tmp_path: Path, text: str, answer: str
) -> None:
    cfg = project()
    (tmp_path / 'train.json').write_text(text)
    (message,) = errors(cfg)
    assert message.startswith('train_dataloader.dataset.ann_file: ')
    assert answer in message
    (tmp_path / 'train.json').unlink()
    (message,) = errors(cfg)
    assert f"there is no file '{tmp_path / 'train.json'}'" in message


def test_a_record_without_a_key(project: Callable) -> None:
    content = coco(GOOD)
    del content['annotations'][3]['area']  # mmdet would end in a KeyError
    (message,) = errors(project(content))
    assert message.startswith('train_dataloader.dataset.ann_file: ')
    assert "annotation or category has no 'area'" in message
    content = coco([*GOOD, [1.0, 2.0, 3.0, 4.0]])
    content['annotations'][-1]['bbox'] = [1.0, 2.0, 3.0]
    (message,) = errors(project(content))
    assert 'cannot be read (not enough values' in message


@pytest.mark.parametrize('key', ['image_id', 'category_id'])
def test_files_are_looked_at_when_a_set_does_not_build(
    project: Callable, key: str
) -> None:
    content = coco(GOOD)
    content['annotations'][0][key] = {'a': 1}
    cfg = project(content)
    with pytest.raises(UserError, match=r'train_dataloader\.dataset\.ann_file: '):
        build_dataset(cfg, 'train', cfg.train_dataloader.dataset)


def test_a_part_without_boxes_is_only_a_warning(project: Callable) -> None:
    cfg = project(coco([]))
    inner = cfg.train_dataloader.dataset
    full = {**inner, 'ann_file': 'val.json'}
    cfg.train_dataloader.dataset = {'type': 'ConcatDataset', 'datasets': [inner, full]}
    assert errors(cfg) == []
    (message,) = warnings(cfg)
    assert message.startswith('train_dataloader.dataset.datasets.0: no image is left')


def test_inside_of_wrappers(project: Callable) -> None:
    cfg = project(heads=3)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = {
        'type': 'RepeatDataset',
        'dataset': {'type': 'ConcatDataset', 'datasets': [inner, inner]},
    }
    keys = [one.key for one in data_sets(cfg, 'train')]
    assert keys == [
        'train_dataloader.dataset.dataset.datasets.0',
        'train_dataloader.dataset.dataset.datasets.1',
    ]
    (message,) = errors(cfg)
    assert message.startswith('model.bbox_head.num_classes = 3')


def test_work_dir_that_is_a_file(project: Callable, tmp_path: Path) -> None:
    cfg = project()
    (tmp_path / 'work').write_text('')
    (message,) = errors(cfg)
    assert message.startswith(f"work_dir = '{tmp_path / 'work'}' cannot be written")
    assert '--work-dir' in message


def test_space_for_two_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1000 numbers of 4 bytes, three for each weight, in two files: 24 kB.
    runner = FakeRunner(model=torch.nn.Linear(999, 1), work_dir=str(tmp_path))
    for free, enough in ((23_999, False), (24_000, True)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(preflight.shutil, 'disk_usage', lambda _, x=usage: x)
        if enough:
            preflight.check_space(runner)
        else:
            with pytest.raises(UserError, match='need up to'):
                preflight.check_space(runner)


def test_one_message_and_warnings_apart(
    project: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    cfg = project(coco([*GOOD, [5, 5, 0, 4]]), heads=80)
    with pytest.raises(UserError) as caught:
        preflight.check_before_training(cfg, said.append)
    assert len(said) == 1
    assert said[0].startswith('warning: train_dataloader.dataset.ann_file: 1 boxes')
    assert 'model.bbox_head.num_classes = 80' in str(caught.value)
    assert '--no-preflight' in str(caught.value)
    # The other processes of a training leave the looking to the first.
    monkeypatch.setenv('RANK', '1')
    cfg.launcher = 'pytorch'
    preflight.check_before_training(cfg, said.append)
    # Started by a launcher, but each trains for itself.
    cfg.launcher = 'none'
    with pytest.raises(UserError):
        preflight.check_before_training(cfg, said.append)
