"""FCOSHead in other people's configs: any default scope, only the type changed."""

import copy
from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

BASE = {
    'num_classes': 4,
    'in_channels': 8,
    'feat_channels': 8,
    'stacked_convs': 2,
    'strides': [8, 16, 32, 64, 128],
    'norm_cfg': {'type': 'GN', 'num_groups': 4},
}


@pytest.fixture
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet', 'mmseg', 'paperzoo'])
def test_defaults_build_under_every_scope(
    scope: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No scope is active, whatever ran before.
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    with DefaultScope.overwrite_default_scope(scope):
        head = MODELS.build(
            {'type': 'paperzoo.FCOSHead', 'num_classes': 2, 'in_channels': 32}
            | {'feat_channels': 32, 'stacked_convs': 1}
        )
        head.init_weights()
    assert type(head.loss_cls).__module__ == 'paperzoo.common.focal'
    assert isinstance(head.cls_convs[0].gn, nn.GroupNorm)
    # -log((1 - 0.01) / 0.01): every class starts at a probability of 0.01
    assert_close(head.conv_cls.bias, torch.full((2,), -4.59511985))
    assert_close(head.conv_reg.bias, torch.zeros(4))


@pytest.mark.usefixtures('_scope')
def test_initial_weights_equal_mmdet() -> None:
    heads = []
    for name in ('paperzoo.FCOSHead', 'mmdet.FCOSHead'):
        torch.manual_seed(0)
        heads.append(MODELS.build(dict(BASE, type=name)))
        heads[-1].init_weights()
    states = [dict(head.state_dict()) for head in heads]
    assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.usefixtures('_scope')
def test_drop_in_for_mmdet_by_its_type_alone() -> None:
    models = [
        MODELS.build(ConfigDict(detector(name)))
        for name in ('FCOSHead', 'paperzoo.FCOSHead')
    ]
    theirs, ours = models
    with torch.no_grad():
        theirs.bbox_head.conv_cls.bias.add_(3.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 96)
    samples = []
    for boxes in ([[5, 5, 40, 30], [20, 8, 90, 60]], []):
        meta = {
            'img_shape': (64, 96),
            'ori_shape': (64, 96),
            'scale_factor': (1.0, 1.0),
        }
        bboxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        gt = InstanceData(bboxes=bboxes, labels=torch.arange(len(boxes)))
        samples.append(DetDataSample(metainfo=meta, gt_instances=gt))
    assert_close(*(model.loss(images, samples) for model in models))
    found = [
        model.eval().predict(images, copy.deepcopy(samples))[0].pred_instances
        for model in models
    ]
    assert len(found[0]) > 0
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found[1][key], found[0][key], rtol=0, atol=0)


def detector(head: str) -> dict:
    """An FCOS config in mmdet's words, shrunk."""
    return {
        'type': 'FCOS',
        'backbone': {
            'type': 'ResNet',
            'depth': 18,
            'base_channels': 8,
            'stem_channels': 8,
            'out_indices': (0, 1, 2, 3),
        },
        'neck': {
            'type': 'FPN',
            'in_channels': [8, 16, 32, 64],
            'out_channels': 8,
            'start_level': 1,
            'add_extra_convs': 'on_output',
            'num_outs': 5,
            'relu_before_extra_convs': True,
        },
        'bbox_head': {
            **BASE,
            'type': head,
            'center_sampling': True,
            'norm_on_bbox': True,
            'centerness_on_reg': True,
            'loss_cls': {'type': 'FocalLoss', 'use_sigmoid': True, 'gamma': 2.0},
            'loss_bbox': {'type': 'GIoULoss', 'loss_weight': 1.0},
            'loss_centerness': {'type': 'CrossEntropyLoss', 'use_sigmoid': True},
        },
        'test_cfg': {
            'nms_pre': 200,
            'score_thr': 0.05,
            'nms': {'type': 'nms', 'iou_threshold': 0.6},
            'max_per_img': 50,
        },
    }
