"""The drop-ins build, learn and predict; the text ones are mmdet's and mmseg's."""

from pathlib import Path

import pytest
import torch
from mmdet.models.task_modules import HungarianAssigner
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, small_model
from torch.testing import assert_close

from paperzoo.fcos import FCOSHead
from paperzoo.knet import KNetSemanticHead, MaskHungarianAssigner

PROJECTS = Path(__file__).parents[1] / 'projects'
MMDET_ASSIGNER = dict(
    type='HungarianAssigner',
    match_costs=[
        dict(type='ClassificationCost', weight=2.0),
        dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
        dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
    ],
)


def load(name: str) -> Config:
    (path,) = PROJECTS.rglob(f'{name}.py')
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('name', ['fcos_drop_in_text', 'fcos_drop_in_python'])
def test_fcos_drop_in(name: str) -> None:
    cfg = load(name)
    model = small_model(cfg)
    assert type(model.bbox_head) is FCOSHead
    losses = model.loss(images(cfg, 2), samples(cfg, 2, 4))
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_centerness'}
    sum(losses.values()).backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    with torch.no_grad():
        model.eval().predict(images(cfg, 2), samples(cfg, 2, 0))


def test_upernet_with_our_semantic_head() -> None:
    cfg = load('knet_drop_in_upernet')
    assert cfg.model.decode_head.kernel_generate_head.type == 'UPerHead'
    model = small_model(cfg).train()
    assert type(model.decode_head) is KNetSemanticHead
    losses = model.loss(images(cfg, 2), samples(cfg, 2, 4))
    stages = {f'decode.loss_ce.s{stage}' for stage in range(4)}
    assert {key for key in losses if 'loss' in key} == {*stages, 'aux.loss_ce'}
    model.parse_losses(losses)[0].backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    with torch.no_grad():
        (found,) = model.eval().predict(images(cfg, 1), samples(cfg, 1, 0))
    assert found.seg_logits.data.shape == (150, 64, 64)


def test_mask2former_with_our_assigner() -> None:
    """Its losses are those with mmdet's assigner: the assignments are the same."""
    found = {}
    for whose in ('ours', 'mmdet'):
        cfg = load('knet_drop_in_mask2former')
        head, train_cfg = cfg.model.panoptic_head, cfg.model.train_cfg
        head.pixel_decoder.encoder.num_layers = 1
        head.transformer_decoder.num_layers = 2
        train_cfg.num_points = 512
        if whose == 'mmdet':
            train_cfg.assigner = MMDET_ASSIGNER
        model = small_model(cfg).train()
        kind = MaskHungarianAssigner if whose == 'ours' else HungarianAssigner
        assert type(model.panoptic_head.assigner) is kind
        torch.manual_seed(3)  # its points are random
        found[whose] = model.loss(images(cfg, 2), samples(cfg, 2, 5))
        sum(found[whose].values()).backward()
    assert_close(found['ours'], found['mmdet'])
