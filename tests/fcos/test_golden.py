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
HEADS = sorted(
    path.stem.removeprefix('fcos_head_') for path in GOLDEN.glob('fcos_head_*.npz')
)


def load_golden(name: str) -> np.lib.npyio.NpzFile:
    return np.load(GOLDEN / f'fcos_head_{name}.npz')


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('name', HEADS)
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


# How the head must be told to lose as the authors do; the keys are those of the arrays.
# The losses of AdelaiDet have other names, and its GIoU lacks the 1e-7 of the official
# code, which is beyond the stored digits.
AUTHORS = {'area_convention': 'authors', 'smooth_iou': True}
LOSSES = {
    'official.': (AUTHORS, ('loss_cls', 'loss_reg', 'loss_centerness')),
    **{
        f'adet.{normalizer}.{short}.': (
            {'smooth_iou': True, 'cls_normalizer': normalizer, 'box_quality': quality},
            ('loss_fcos_cls', 'loss_fcos_loc', f'loss_fcos_{branch}'),
        )
        for normalizer in ('fg', 'moving_fg', 'all')
        for quality, short, branch in (
            ('centerness', 'ctrness', 'ctr'),
            ('iou', 'iou', 'iou'),
        )
    },
}


@pytest.mark.parametrize(
    ('name', 'whose'),
    [
        (name, whose)
        for name in HEADS
        for whose in LOSSES
        if any(key.startswith(f'loss:{whose}') for key in load_golden(name).files)
    ],
)
def test_golden_losses_of_the_authors(name: str, whose: str) -> None:
    options, theirs = LOSSES[whose]
    golden, head, x, gt, metas = golden_case(name, torch.float64, **options)
    losses = head.loss_by_feat(*head(x), gt, metas)
    for ours, key in zip(
        ('loss_cls', 'loss_bbox', 'loss_centerness'), theirs, strict=True
    ):
        expected = float(golden[f'loss:{whose}{key}'])
        assert_close(losses[ours].item(), expected, rtol=2e-7, atol=1e-7)


# AdelaiDet leaves clipping to the caller. The official code clips to the last pixel:
# its images are one pixel smaller, and its overlaps count pixels (offset 1). Both keep
# the boxes without area that a ReLU gives; mmdet's configs drop them.
SCORES = {'score_mode': 'sqrt', 'rank_by': 'product', 'min_bbox_size': -1}
DETECTIONS = {
    'mmdet': ({}, {}, 0, True),
    'official': (SCORES, {'offset': 1}, 1, True),
    'adet': (SCORES, {}, 0, False),
    'adet_thresh_with_ctr': (SCORES | {'threshold_by': 'product'}, {}, 0, False),
}


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('whose', DETECTIONS)
def test_golden_detections(name: str, whose: str) -> None:
    test_cfg, nms, border, clip = DETECTIONS[whose]
    coder = {'type': 'mmdet.DistancePointBBoxCoder', 'clip_border': clip}
    golden, head, x, _, metas = golden_case(name, torch.float32, bbox_coder=coder)
    head.test_cfg.update(test_cfg)
    head.test_cfg.nms.update(nms)
    metas = [
        {'img_shape': [side - border for side in meta['img_shape']]} for meta in metas
    ]
    outputs = head.eval()(x)
    for level in (0, 4):
        expected = torch.from_numpy(golden[f'out:eval.bbox_pred.{level}'])
        assert_close(outputs[1][level], expected, rtol=1e-5, atol=1e-4)
    results = head.predict_by_feat(*outputs, metas, rescale=False)
    for image, found in enumerate(results):
        for key in ('labels', 'scores', 'bboxes'):
            expected = torch.from_numpy(golden[f'out:{whose}.{image}.{key}'])
            assert_close(found[key], expected, rtol=1e-5, atol=1e-4)


def golden_case(
    name: str, dtype: torch.dtype, prefix: str = 'paperzoo.', **options: object
) -> tuple:
    golden = load_golden(name)
    load = lambda key: torch.from_numpy(golden[key])
    meta = json.loads(str(golden['meta']))
    config = meta['hyper']['head'] | {'type': 'paperzoo.FCOSHead'} | options
    for loss in ('loss_cls', 'loss_bbox', 'loss_centerness'):
        kind = config[loss]['type']
        if prefix and kind == 'CrossEntropyLoss':
            kind = 'CenternessLoss'
        config[loss]['type'] = prefix + kind
    head = MMDET_MODELS.build(
        config | {'test_cfg': ConfigDict(meta['hyper']['test_cfg'])}
    )
    weights = {key[2:]: load(key) for key in golden.files if key.startswith('w:')}
    # The running mean is no part of anyone's weights.
    moving = {k: v for k, v in head.state_dict().items() if 'moving' in k}
    head.load_state_dict(weights | moving, strict=True)
    x = [load(f'in:x{level}').to(dtype).requires_grad_() for level in range(5)]
    gt = [
        InstanceData(bboxes=load(f'in:gt_bboxes.{i}'), labels=load(f'in:gt_labels.{i}'))
        for i in range(2)
    ]
    shapes = meta['img_shapes']
    metas = [{'img_shape': shape, 'scale_factor': (1.0, 1.0)} for shape in shapes]
    return golden, head.to(dtype), x, gt, metas
