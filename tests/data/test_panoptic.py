"""Panoptic sets: things first, then stuff; or what is missing."""

from pathlib import Path

import pytest
from mmdet.datasets.transforms import LoadPanopticAnnotations
from mmengine.registry import DefaultScope

from paperzoo.data.panoptic import CocoPanopticDataset, ShapesPanopticDataset
from paperzoo.errors import UserError


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
