"""Heads that count as many classes as the data raise no alarm."""

from pathlib import Path

import pytest
from mmengine.config import Config

from paperzoo.apis.config import config_folders, find_config
from paperzoo.preflight.datasets import data_sets
from paperzoo.preflight.num_classes import check_heads

SHIPPED = [
    file
    for folder in config_folders()
    for file in sorted(folder.rglob('*.py'))
    if '_base_' not in file.parts
]


@pytest.mark.parametrize('file', SHIPPED[11::53], ids=lambda file: file.stem)
def test_heads_of_shipped_configs_raise_no_alarm(file: Path) -> None:
    try:
        cfg = Config.fromfile(str(file))
    except (ImportError, FileNotFoundError) as error:
        pytest.skip(str(error)[:80])
    assert check_heads(cfg, data_sets(cfg, 'train')) == []


def test_panoptic_heads() -> None:
    cfg = Config.fromfile(str(find_config('panoptic-fpn_r50_fpn_1x_coco')))
    sets = data_sets(cfg, 'train')
    assert check_heads(cfg, sets) == []
    cfg.model.roi_head.bbox_head.num_classes = 133
    (found,) = check_heads(cfg, sets)
    assert found.text.startswith('model.roi_head.bbox_head.num_classes = 133')
