"""Local attention for convolutions, by config alone, in models of mmdet."""

from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from paperzoo.attention import LocalSelfAttention2d
from paperzoo.explain.attention.trace import attention_views

LOCAL = {'type': 'paperzoo.LocalSelfAttention2d', 'num_heads': 2}
SIZE = (64, 64)
CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
RETINANET = CONFIGS / 'retinanet' / 'retinanet_r50_fpn_1x_coco.py'


@pytest.fixture(autouse=True)
def _scope() -> None:
    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')


def retinanet(**head: Any) -> ConfigDict:
    """Return mmdet's RetinaNet, narrow and shallow."""
    model = Config.fromfile(str(RETINANET)).model
    model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.bbox_head.update(
        in_channels=16, feat_channels=16, stacked_convs=2, num_classes=3, **head
    )
    model.test_cfg.score_thr = 0.0
    return model


def build(model: ConfigDict) -> nn.Module:
    torch.manual_seed(0)
    built = MODELS.build(model)
    built.init_weights()
    return built


def batch() -> tuple[Tensor, list[DetDataSample]]:
    torch.manual_seed(1)
    info: dict[str, Any] = {'img_shape': SIZE, 'ori_shape': SIZE, 'pad_shape': SIZE}
    info |= {'batch_input_shape': SIZE, 'scale_factor': (1.0, 1.0)}
    samples = []
    for _ in range(2):
        sample = DetDataSample(metainfo=info)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[4.0, 8.0, 40.0, 44.0]]), labels=torch.tensor([1])
        )
        samples.append(sample)
    return torch.randn(2, 3, *SIZE), samples


def total(losses: dict[str, Any]) -> Tensor:
    return sum(torch.stack(list(x)).sum() for x in losses.values())  # type: ignore


def test_the_head_of_retinanet_trains_and_predicts() -> None:
    model = build(retinanet(conv_cfg=LOCAL))
    layers = [x for x in model.modules() if isinstance(x, LocalSelfAttention2d)]
    assert len(layers) == 4
    # RetinaHead draws its convolutions from N(0, 0.01); these are no convolutions.
    for layer in layers:
        assert layer.value.std() > 0.1
        assert layer.rows.std() > 0.5
    images, samples = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    losses = []
    for _ in range(3):
        loss = total(model.loss(images, samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    for name, parameter in model.bbox_head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    found = model.eval().predict(images, samples)
    assert len(found) == 2
    assert found[0].pred_instances.bboxes.isfinite().all()
    assert len(found[0].pred_instances) > 0


def test_every_level_of_the_head_can_be_looked_into() -> None:
    model = build(retinanet(conv_cfg=LOCAL)).eval()
    images, samples = batch()
    views = attention_views(model, lambda: model.predict(images, samples))
    # Four layers on five levels of strides 8 to 128.
    assert len(views) == 20
    first = [view for view in views if view.layer == 'bbox_head.cls_convs.0.conv']
    assert [tuple(view.x.shape[-2:]) for view in first] == [
        (n, n) for n in (8, 4, 2, 1, 1)
    ]


@pytest.mark.parametrize('depth', [18, 50])
def test_a_backbone_of_attention_keeps_its_stem_and_single_pixels(depth: int) -> None:
    config = {'type': 'mmdet.ResNet', 'depth': depth, 'base_channels': 8}
    config['conv_cfg'] = {**LOCAL, 'min_in_channels': 4}
    # Else the last normalisation of a block begins with zeros: no gradient passes.
    config['zero_init_residual'] = False
    backbone = build(ConfigDict(config))
    assert type(backbone.conv1) is nn.Conv2d
    convolutions = [x for x in backbone.modules() if type(x) is nn.Conv2d]
    sizes = {x.kernel_size for x in convolutions}
    assert sizes == {(7, 7), (1, 1)}
    layers = [x for x in backbone.modules() if isinstance(x, LocalSelfAttention2d)]
    # Two 3x3 layers in each of 8 blocks; one in each of 16.
    assert len(layers) == 16
    outputs = backbone(torch.randn(2, 3, 64, 64))
    assert [x.shape[-1] for x in outputs] == [16, 8, 4, 2]
    sum(x.square().mean() for x in outputs).backward()
    for layer in layers:
        for parameter in layer.parameters():
            assert parameter.grad.abs().sum() > 0


def test_without_the_option_a_stem_attends_as_well() -> None:
    config = {'type': 'mmdet.ResNet', 'depth': 18, 'base_channels': 8}
    backbone = build(ConfigDict({**config, 'conv_cfg': LOCAL}))
    backbone.eval()
    assert type(backbone.conv1) is LocalSelfAttention2d
    assert backbone(torch.randn(1, 3, 32, 32))[-1].shape == (1, 64, 1, 1)
