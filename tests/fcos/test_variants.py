"""What configs ask of the head: levels, widths, deformable and other convolutions."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmcv.cnn import ConvAWS2d
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

INF = 1e8
BASE: dict[str, Any] = {
    'num_classes': 3,
    'in_channels': 8,
    'feat_channels': 8,
    'stacked_convs': 2,
    'strides': [8, 16, 32],
    'regress_ranges': ((-1, 64), (64, 128), (128, INF)),
    'norm_cfg': {'type': 'GN', 'num_groups': 4},
    'test_cfg': ConfigDict(
        nms_pre=50, score_thr=0.05, nms={'type': 'nms', 'iou_threshold': 0.6}
    )
    | {'min_bbox_size': 0, 'max_per_img': 20},
}
VARIANTS: dict[str, tuple[dict[str, Any], type | None]] = {
    'real time': ({'norm_on_bbox': True, 'centerness_on_reg': True}, None),
    'dcn': ({'dcn_on_last_conv': True}, ModulatedDeformConv2dPack),
    'conv_cfg': ({'conv_cfg': {'type': 'ConvAWS'}}, ConvAWS2d),
    'batch norm': ({'norm_cfg': {'type': 'BN'}}, nn.Conv2d),
    'no norm': ({'norm_cfg': None}, nn.Conv2d),
    # The widths of a MobileNetV2 head: those of the tower are not those of the neck.
    'narrow': ({'feat_channels': 12, 'stacked_convs': 3}, None),
}


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('variant', VARIANTS)
def test_equals_mmdet(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In double precision, where the overlaps of distances (ours) and of boxes off the
    # origin (mmdet's) are rounded too little to matter; mmdet casts to float32 within.
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    options, last_conv = VARIANTS[variant]
    ours, theirs = (
        MODELS.build(copy.deepcopy({**BASE, **options}) | {'type': name}).double()
        for name in ('paperzoo.FCOSHead', 'FCOSHead')
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if last_conv is not None:
        assert isinstance(ours.cls_convs[-1].conv, last_conv)
        assert isinstance(ours.reg_convs[-1].conv, last_conv)
    double = torch.float64
    x = [torch.randn(1, 8, *s, dtype=double) for s in ((12, 16), (6, 8), (3, 4))]
    boxes = torch.tensor([[4.0, 8, 40, 70], [10, 5, 120, 90]], dtype=double)
    gt = [InstanceData(bboxes=boxes, labels=torch.tensor([2, 0]))]
    metas = [{'img_shape': (96, 128), 'scale_factor': (1.0, 1.0)}]
    losses, slopes = [], []
    for head in (ours, theirs):
        losses.append(head.loss_by_feat(*head(x), gt, metas))
        total = sum(losses[-1].values())
        slopes.append(torch.autograd.grad(total, list(head.parameters())))
    # mmdet divides the centre-ness loss by the number of positives and an eps of 1e-7.
    assert_close(losses[0], losses[1], rtol=1e-8, atol=1e-11)
    for mine, other in zip(*slopes, strict=True):
        assert_close(mine, other, rtol=1e-7, atol=1e-9)
    found, expected = (
        head.predict_by_feat(*head.eval()(x), metas, rescale=False)[0]
        for head in (ours, theirs)
    )
    assert len(expected) == 20
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found[key], expected[key], rtol=0, atol=0)
