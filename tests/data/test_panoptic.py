"""Panoptic sets: things first, then stuff; or what is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import LoadPanopticAnnotations
from mmengine.registry import DefaultScope

from paperzoo.data.panoptic import CocoPanopticDataset, ShapesPanopticDataset
from paperzoo.errors import UserError
from paperzoo.evaluation.panoptic_quality import PanopticQuality, read_id_map


def test_shapes_has_labels_of_things_then_of_stuff() -> None:
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = ShapesPanopticDataset(
            ann_file='annotations/panoptic_val.json',
            data_root='data/shapes/',
            data_prefix={'img': 'val/', 'seg': 'annotations/panoptic_val/'},
        )
    assert len(found) == 100
    info = found.get_data_info(0)
    assert Path(info['img_path']).exists()
    shape = (info['height'], info['width'])
    loaded = LoadPanopticAnnotations()({**info, 'ori_shape': shape})
    assert set(loaded['gt_bboxes_labels']) <= set(range(7))
    stuff = [s['category'] for s in info['segments_info'] if not s['is_thing']]
    assert stuff
    assert set(stuff) <= set(range(7, 10))
    # Every pixel belongs to a thing or to stuff, as drawn.
    assert loaded['gt_seg_map'].max() < 10
    palette = ShapesPanopticDataset.METAINFO['palette']
    assert len(set(palette)) == 10


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    with pytest.raises(UserError, match='knet_tiny_shapes_panoptic'):
        CocoPanopticDataset('a.json', 'data/coco', {'img': 'i', 'seg': 's'})


IDS = np.zeros((8, 12), np.int64)
IDS[:, 6:] = 7
IDS[1:4, 1:5] = 300


def panoptic_file() -> dict:
    """A cat (segment 300) beside grass (7), which is the first category."""
    box = {'bbox': [1, 1, 4, 3], 'area': 12, 'iscrowd': 0}
    return {
        'images': [{'id': 0, 'file_name': 'a.jpeg', 'width': 12, 'height': 8}],
        'annotations': [
            {
                'image_id': 0,
                'file_name': 'other.png',
                'segments_info': [
                    {'id': 7, 'category_id': 5, **box},
                    {'id': 300, 'category_id': 1, **box},
                ],
            }
        ],
        'categories': [
            {'id': 5, 'name': 'grass', 'isthing': 0},
            {'id': 1, 'name': 'cat', 'isthing': 1},
        ],
    }


@pytest.fixture
def panoptic_set(tmp_path: Path) -> Callable[..., CocoPanopticDataset]:
    def make(written: dict, **metainfo: tuple) -> CocoPanopticDataset:
        (tmp_path / 'a.json').write_text(json.dumps(written))
        red, green = IDS % 256, IDS // 256
        pixels = np.stack([0 * red, green, red], -1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / 'other.png'), pixels)
        meta = {
            'classes': ('cat', 'grass'),
            'thing_classes': ('cat',),
            'stuff_classes': ('grass',),
        }
        with DefaultScope.overwrite_default_scope('mmdet'):
            return CocoPanopticDataset(
                'a.json',
                str(tmp_path),
                {'img': '', 'seg': ''},
                metainfo={**meta, **metainfo},
                pipeline=[],
            )

    return make


def test_the_annotation_names_the_png_and_the_class_list_the_labels(
    panoptic_set: Callable, tmp_path: Path
) -> None:
    (info,) = list(panoptic_set(panoptic_file()))
    assert info['seg_map_path'] == str(tmp_path / 'other.png')
    labels = {one['id']: one['category'] for one in info['segments_info']}
    assert labels == {7: 1, 300: 0}
    loaded = LoadPanopticAnnotations()({**info, 'ori_shape': (8, 12)})
    assert (loaded['gt_seg_map'][IDS == 7] == 1).all()
    assert (loaded['gt_seg_map'][IDS == 300] == 0).all()


def segments(written: dict) -> list[dict]:
    return written['annotations'][0]['segments_info']


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda d: segments(d)[0].update(id=0), 'the id 0, which means void'),
        (lambda d: segments(d)[0].update(id=300), 'two segments have the id 300'),
        (lambda d: segments(d)[0].update(category_id=9), 'unknown category_id'),
        (lambda d: d['categories'][1].pop('isthing'), "'cat' has no isthing"),
        (lambda d: d['categories'][1].update(isthing=0), "'cat' .* is stuff there"),
        (lambda d: d['categories'][1].update(name='dog'), "'dog' labels segments"),
        (lambda d: d['annotations'].append(d['annotations'][0]), 'two annotations are'),
        (lambda d: d.update(annotations=[{'id': 1}]), 'is no panoptic file'),
    ],
)
def test_ambiguous_files_are_refused(
    panoptic_set: Callable, change: Callable[[dict], object], said: str
) -> None:
    written = panoptic_file()
    change(written)
    with pytest.raises(UserError, match=said):
        panoptic_set(written)


def test_stuff_before_things_is_refused(panoptic_set: Callable) -> None:
    with pytest.raises(UserError, match=r"Write classes=\('cat', 'grass'\)"):
        panoptic_set(panoptic_file(), classes=('grass', 'cat'))


def test_pq_takes_labels_from_the_class_list(
    panoptic_set: Callable, tmp_path: Path
) -> None:
    written = panoptic_file()
    found = panoptic_set(written)
    pred = np.full(IDS.shape, 2)
    pred[IDS == 7], pred[IDS == 300] = 1, 1000
    metric = PanopticQuality(str(tmp_path / 'a.json'), str(tmp_path))
    metric.dataset_meta = found.metainfo
    seg = {'sem_seg': torch.from_numpy(pred)[None]}
    metric.process({}, [{'img_id': 0, 'pred_panoptic_seg': seg}])
    numbers = metric.evaluate(1)
    assert numbers['coco_panoptic/PQ_th'] == numbers['coco_panoptic/PQ_st'] == 100


@pytest.mark.parametrize(
    'pixels', [IDS.astype(np.uint8), IDS.astype(np.uint16), np.dstack([IDS] * 3) * 256]
)
def test_a_png_of_another_kind_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    wide = pixels if pixels.dtype != np.int64 else pixels.astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), wide)
    with pytest.raises(UserError, match='holds ids as colours'):
        read_id_map(tmp_path / 'a.png')
