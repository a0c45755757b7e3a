"""The FCOS head on stored arrays: outputs, losses, gradients, detections."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch.testing import assert_close

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('name', ['baseline', 'imprv'])
@pytest.mark.parametrize('prefix', ['paperzoo.', ''], ids=['our losses', "mmdet's"])
def test_golden_training(name: str, prefix: str) -> None:
    golden, head, x, gt, metas = golden_case(name, torch.float64, prefix)
    outputs = dict(zip(('cls_score', 'bbox_pred', 'centerness'), head(x), strict=True))
    found = {
        f'out:train.{key}.{level}': value
        for key, levels in outputs.items()
        for level, value in enumerate(levels)
    }
    losses = head.loss_by_feat(*outputs.values(), gt, metas)
    wanted = [*head.parameters(), *x]
    gradients = torch.autograd.grad(
        sum(losses.values()), wanted, materialize_grads=True
    )
    found |= {f'loss:mmdet.{key}': value for key, value in losses.items()}
    names = [f'w:{key}' for key, _ in head.named_parameters()] + [
        f'x{level}' for level in range(len(x))
    ]
    found |= {f'grad:{key}': g for key, g in zip(names, gradients, strict=True)}
    stored = [
        key
        for key in golden.files
        if key.startswith(('out:train.', 'loss:mmdet.', 'grad:'))
    ]
    assert len(stored) > 20
    # mmdet's centre-ness loss computes in float32.
    rtol = 2e-7 if prefix else 2e-6
    for key in stored:
        expected = torch.from_numpy(golden[key]).double()
        atol = rtol * max(1.0, expected.abs().max().item())
        assert_close(found[key].detach().double(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize('name', ['baseline', 'imprv'])
def test_golden_detections(name: str) -> None:
    golden, head, x, _, metas = golden_case(name, torch.float32)
    outputs = head.eval()(x)
    for level in (0, 4):
        expected = torch.from_numpy(golden[f'out:eval.bbox_pred.{level}'])
        assert_close(outputs[1][level], expected, rtol=1e-5, atol=1e-4)
    for image, found in enumerate(head.predict_by_feat(*outputs, metas)):
        for key in ('bboxes', 'scores', 'labels'):
            expected = torch.from_numpy(golden[f'out:mmdet.{image}.{key}'])
            assert_close(found[key], expected, rtol=1e-5, atol=1e-4)


def golden_case(name: str, dtype: torch.dtype, prefix: str = 'paperzoo.') -> tuple:
    golden = np.load(GOLDEN / f'fcos_head_{name}.npz')
    load = lambda key: torch.from_numpy(golden[key])
    meta = json.loads(str(golden['meta']))
    config = meta['hyper']['head'] | {'type': 'paperzoo.FCOSHead'}
    for loss in ('loss_cls', 'loss_bbox', 'loss_centerness'):
        kind = config[loss]['type']
        if prefix and kind == 'CrossEntropyLoss':
            kind = 'CenternessLoss'
        config[loss]['type'] = prefix + kind
    head = MMDET_MODELS.build(
        config | {'test_cfg': ConfigDict(meta['hyper']['test_cfg'])}
    )
    weights = {key[2:]: load(key) for key in golden.files if key.startswith('w:')}
    head.load_state_dict(weights, strict=True)
    x = [load(f'in:x{level}').to(dtype).requires_grad_() for level in range(5)]
    gt = [
        InstanceData(bboxes=load(f'in:gt_bboxes.{i}'), labels=load(f'in:gt_labels.{i}'))
        for i in range(2)
    ]
    shapes = meta['img_shapes']
    metas = [{'img_shape': shape, 'scale_factor': (1.0, 1.0)} for shape in shapes]
    return golden, head.to(dtype), x, gt, metas
