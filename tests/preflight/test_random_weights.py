"""Random weights with frozen parts are found, and freed by one option."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from paperzoo.apis.config import config_folders, load_config
from paperzoo.apis.training import set_training_options
from paperzoo.preflight.random_weights import check_frozen
from paperzoo.registry import MODELS

OURS = [
    file
    for file in sorted(config_folders()[0].rglob('*.py'))
    if '_base_' not in file.parts
]
PRETRAINED = [
    'fcos_r50_fpn',
    'fcos_mnv2_fpn',
    'knet_r50_fpn_instance',
    'knet_r50_fpn_panoptic',
    'knet_r50_fcn_semantic',
    'retinanet_r18_fpn_1x_coco',
    'mask2former_r50_8xb2-lsj-50e_coco',
]


@pytest.mark.parametrize('file', OURS, ids=lambda file: file.stem)
def test_no_config_of_ours_freezes_noise(file: Path) -> None:
    assert check_frozen(Config.fromfile(str(file))) == []


@pytest.mark.parametrize('name', ['fcos_r50_fpn', 'knet_r50_fpn_instance'])
def test_taking_the_weights_away_is_not_enough(name: str) -> None:
    cfg = load_config(name, {'model.backbone.init_cfg': None})
    (issue,) = check_frozen(cfg)
    assert issue.stops
    assert 'frozen_stages=1, norm_eval=True' in issue.text
    assert '--from-scratch' in issue.text
    # The weights may come from a checkpoint of the whole model.
    cfg.load_from = 'coco.pth'
    assert check_frozen(cfg) == []


@pytest.mark.parametrize('name', PRETRAINED)
def test_from_scratch_frees_all(name: str) -> None:
    cfg = load_config(name)
    cfg.load_from = 'a.pth'
    set_training_options(cfg, from_scratch=True)
    assert cfg.load_from is None
    assert check_frozen(cfg) == []
    init_default_scope(cfg.default_scope)
    if cfg.model.backbone.get('depth') == 50:
        cfg.model.backbone.update(base_channels=4, stem_channels=4)
    model = MODELS.build(cfg.model.backbone)
    model.train()
    assert all(one.requires_grad for one in model.parameters())
    assert all(one.training for one in model.modules())
    model.init_weights()  # would fetch weights, if any were left


def test_without_statistics_nothing_is_kept() -> None:
    norm = dict(type='GN', num_groups=8)
    backbone = dict(type='mmdet.ResNet', depth=18, norm_cfg=norm, norm_eval=True)
    assert check_frozen(Config(dict(model=dict(backbone=backbone)))) == []
