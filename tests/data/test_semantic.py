"""Semantic sets find their images and labels, or say what is missing."""

from pathlib import Path

import numpy as np
import pytest
from mmcv import imwrite
from mmengine.registry import DefaultScope

from paperzoo.data.semantic import ADE20KDataset, CamVidDataset, SemanticDataset
from paperzoo.data.semantic import ShapesSemanticDataset as Shapes
from paperzoo.data.shapes import STUFF_CLASSES, THING_CLASSES
from paperzoo.errors import UserError

PREFIX = {'img_path': 'img', 'seg_map_path': 'ann'}


def test_finds_images_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    for name in ('a', 'b'):
        imwrite(np.zeros((4, 6, 3), np.uint8), str(tmp_path / f'toy/img/{name}.jpg'))
        imwrite(np.zeros((4, 6), np.uint8), str(tmp_path / f'toy/ann/{name}.png'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        found = SemanticDataset('data/toy', PREFIX, metainfo={'classes': ('x', 'y')})
    paths = [found.get_data_info(index) for index in range(len(found))]
    assert [Path(info['img_path']).name for info in paths] == ['a.jpg', 'b.jpg']
    assert [info['seg_map_path'] for info in paths] == [
        str(tmp_path / 'toy/ann' / f'{name}.png') for name in ('a', 'b')
    ]
    assert found.metainfo['classes'] == ('x', 'y')


@pytest.mark.parametrize('kind', [SemanticDataset, ADE20KDataset, CamVidDataset])
def test_says_what_is_missing(
    kind: type[SemanticDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PAPERZOO_DATA', str(tmp_path))
    with pytest.raises(UserError, match='knet_tiny_shapes_semantic'):
        kind('data/toy', PREFIX)


def test_classes() -> None:
    assert len(ADE20KDataset.METAINFO['classes']) == 150
    assert len(CamVidDataset.METAINFO['classes']) == 11
    assert len(set(CamVidDataset.METAINFO['palette'])) == 11
    assert Shapes.METAINFO['classes'] == (*THING_CLASSES, *STUFF_CLASSES)
