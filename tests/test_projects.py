"""The drop-ins build, learn and predict; the text one is mmdet's config."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import samples, small_model

from paperzoo.fcos import FCOSHead

PROJECTS = Path(__file__).parents[1] / 'projects'


@pytest.mark.parametrize('name', ['fcos_drop_in_text', 'fcos_drop_in_python'])
def test_fcos_drop_in(name: str) -> None:
    cfg = Config.fromfile(str(PROJECTS / 'fcos_drop_in' / f'{name}.py'))
    init_default_scope(cfg.default_scope)
    model = small_model(cfg)
    assert type(model.bbox_head) is FCOSHead
    images = torch.randn(2, 3, 128, 128)
    losses = model.loss(images, samples(2, 4, cfg.model.bbox_head.num_classes))
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_centerness'}
    sum(losses.values()).backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    with torch.no_grad():
        model.eval().predict(images, samples(2, 0, 1))
