"""The options of the head that mmdet's does not have, and what each of them changes."""

import itertools
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from references import fcos as reference
from torch import Tensor
from torch.testing import assert_close

import paperzoo.fcos.head
from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead, level_points

SIZES = [(8, 10), (4, 5), (2, 3)]
STRIDES = [8, 16, 32]
POINTS = [
    level_points(size, (stride, stride))
    for size, stride in zip(SIZES, STRIDES, strict=True)
]
METAS = [{'img_shape': (64, 80), 'scale_factor': (1.0, 1.0)}] * 2
BASE: dict[str, Any] = {
    'type': 'paperzoo.FCOSHead',
    'num_classes': 3,
    'in_channels': 8,
    'feat_channels': 8,
    'stacked_convs': 1,
    'strides': STRIDES,
    'regress_ranges': ((-1, 24), (24, 48), (48, 1e8)),
    'norm_cfg': {'type': torch.nn.GroupNorm, 'num_groups': 4},
}
LOSS_BBOX = {
    'iou': {'type': 'paperzoo.IoULoss'},
    'linear': {'type': 'paperzoo.IoULoss', 'mode': 'linear'},
    'giou': {'type': 'paperzoo.GIoULoss'},
}


def build(**options: Any) -> FCOSHead:
    head = MODELS.build({**BASE, **options})
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        head.conv_reg.bias.fill_(2.0)
    return head


def features(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 8, *size, dtype=dtype) for size in SIZES]


def ground_truth(*counts: int) -> list[InstanceData]:
    torch.manual_seed(2)
    instances = []
    for count in counts:
        start = torch.rand(count, 2) * 40
        boxes = torch.cat((start, start + 6 + torch.rand(count, 2) * 40), dim=1)
        labels = torch.arange(count) % 3
        instances.append(InstanceData(bboxes=boxes, labels=labels))
    return instances


def losses(head: FCOSHead, *counts: int) -> dict[str, Tensor]:
    return head.loss_by_feat(*head(features()), ground_truth(*counts), METAS)


def per_positive(head: FCOSHead, *counts: int) -> list[tuple]:
    """Predicted box, target box and quality logit of each location with an object."""
    _, boxes, quality = head(features())
    labels, targets = head.get_targets(POINTS, ground_truth(*counts))
    rows = []
    for level, points in enumerate(POINTS):
        flat = boxes[level].permute(0, 2, 3, 1).reshape(-1, 4).tolist()
        logits = quality[level].flatten().tolist()
        places = points.repeat(2, 1).tolist()
        for row, (x, y) in enumerate(places):
            if labels[level][row] < 3:
                pair = [
                    (x - left, y - top, x + right, y + bottom)
                    for left, top, right, bottom in (
                        flat[row],
                        targets[level][row].tolist(),
                    )
                ]
                rows.append((*pair, logits[row]))
    return rows


@pytest.mark.parametrize('smooth_iou', [False, True])
@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_quality_may_be_the_iou(smooth_iou: bool, norm_on_bbox: bool) -> None:
    head = build(
        box_quality='iou',
        smooth_iou=smooth_iou,
        norm_on_bbox=norm_on_bbox,
        loss_bbox=LOSS_BBOX['linear'],
    ).double()
    rows = per_positive(head, 3, 2)
    overlap = reference.smooth_iou_and_giou if smooth_iou else reference.iou_and_giou
    ious = [overlap(box, target)[0] for box, target, _ in rows]
    entropy = [
        reference.cross_entropy(logit, iou)
        for (_, _, logit), iou in zip(rows, ious, strict=True)
    ]
    found = losses(head, 3, 2)
    assert len(rows) > 10
    # All positives count alike, and are divided by their number.
    box_loss = sum(1 - max(iou, 1e-6) for iou in ious) / len(rows)
    assert_close(found['loss_bbox'].item(), box_loss, rtol=1e-5, atol=0)
    quality = sum(entropy) / len(rows)
    assert_close(found['loss_centerness'].item(), quality, rtol=1e-5, atol=0)


def test_no_gradient_flows_through_the_iou_that_is_learnt() -> None:
    head = build(box_quality='iou').double()
    losses(head, 3, 2)['loss_centerness'].backward()
    assert head.conv_centerness.weight.grad.abs().sum() > 0
    assert head.conv_reg.weight.grad is None


def test_class_loss_by_each_normalizer() -> None:
    heads = {kind: build(cls_normalizer=kind) for kind in ('fg', 'moving_fg', 'all')}
    found = {
        kind: losses(head.double(), 3, 2)['loss_cls'].item()
        for kind, head in heads.items()
    }
    positives = len(per_positive(heads['fg'], 3, 2))
    total = found['fg'] * positives
    moving = 0.9 * 100 + 0.1 * positives
    assert_close(found['moving_fg'], total / moving, rtol=1e-6, atol=0)
    locations = 2 * sum(height * width for height, width in SIZES)
    assert_close(found['all'], total / locations, rtol=1e-6, atol=0)


def test_the_running_mean_is_saved_only_where_it_is_used() -> None:
    plain, moving = build(), build(cls_normalizer='moving_fg')
    extra = set(moving.state_dict()) - set(plain.state_dict())
    assert extra == {'cls_normalizer.moving_positives'}
    assert set(plain.state_dict()) < set(moving.state_dict())
    moving.double()
    mean = 100.0
    for counts in ((3, 2), (0, 0), (1, 0)):
        losses(moving, *counts)
        mean = 0.9 * mean + 0.1 * len(per_positive(moving, *counts))
        assert_close(moving.cls_normalizer.moving_positives.item(), mean)
    losses(moving.eval(), 3, 2)
    assert_close(moving.cls_normalizer.moving_positives.item(), mean)
    restored = build(cls_normalizer='moving_fg').double()
    restored.load_state_dict(moving.state_dict())
    assert_close(restored.cls_normalizer.moving_positives.item(), mean)


@pytest.mark.parametrize('kind', ['fg', 'moving_fg', 'all'])
@pytest.mark.parametrize('box_quality', ['centerness', 'iou'])
def test_what_is_divided_by_is_averaged_over_the_ranks(
    kind: str, box_quality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {'cls_normalizer': kind, 'box_quality': box_quality}
    alone, positives = losses(build(**options).double(), 3, 2), 0
    positives = len(per_positive(build().double(), 3, 2))
    # As if the other ranks had so many more that the mean is twice ours.
    monkeypatch.setattr(paperzoo.fcos.head, 'reduce_mean', lambda value: 2 * value)
    together = losses(build(**options).double(), 3, 2)
    ratio = (90 + 0.2 * positives) / (90 + 0.1 * positives)
    expected = {'loss_cls': ratio if kind == 'moving_fg' else 2.0}
    for key, loss in alone.items():
        factor = expected.get(key, 2.0)
        assert_close((factor * together[key]).item(), loss.item(), rtol=1e-6, atol=0)


@pytest.mark.parametrize('box_loss', LOSS_BBOX)
@pytest.mark.parametrize('box_quality', ['centerness', 'iou'])
@pytest.mark.parametrize('smooth_iou', [False, True])
def test_without_objects_nothing_is_learnt_about_boxes(
    box_loss: str, box_quality: str, smooth_iou: bool
) -> None:
    rest = itertools.product((False, True), ('fg', 'moving_fg', 'all'))
    # What the assigner does with its options does not depend on those of the losses.
    assigner = itertools.cycle([('area', False), ('nearest', False), ('nearest', True)])
    for (norm_on_bbox, cls_normalizer), (ambiguity, center_sampling) in zip(
        rest, assigner, strict=False
    ):
        head = build(
            loss_bbox=LOSS_BBOX[box_loss],
            box_quality=box_quality,
            smooth_iou=smooth_iou,
            norm_on_bbox=norm_on_bbox,
            cls_normalizer=cls_normalizer,
            ambiguity=ambiguity,
            center_sampling=center_sampling,
        ).double()
        found = losses(head, 0, 0)
        assert_close(found['loss_bbox'].item(), 0.0, rtol=0, atol=0)
        assert_close(found['loss_centerness'].item(), 0.0, rtol=0, atol=0)
        assert found['loss_cls'].isfinite()
        sum(found.values()).backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, f'{name} is not in the graph'
            assert parameter.grad.isfinite().all(), name
            if name.startswith(('reg_convs', 'conv_reg', 'scales', 'conv_cent')):
                expected = torch.zeros_like(parameter)
                assert_close(parameter.grad, expected, rtol=0, atol=0)


def test_assigner_options_arrive() -> None:
    head = build(ambiguity='nearest', area_convention='authors')
    assert (head.assigner.ambiguity, head.assigner.area_convention) == (
        'nearest',
        'authors',
    )
    # The second box is larger, and its centre nearer.
    gt = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 20, 20], [4, 4, 36, 36]]),
        labels=torch.tensor([0, 1]),
    )
    points = [torch.tensor([[18.0, 18.0]])] * 3
    labels = [
        build(**o).get_targets(points, [gt])[0][0].item()
        for o in ({'ambiguity': 'area'}, {'ambiguity': 'nearest'})
    ]
    assert labels == [0, 1]


def test_smooth_iou_reaches_the_box_loss() -> None:
    by_head = build(smooth_iou=True, loss_bbox=LOSS_BBOX['giou'])
    by_loss = build(loss_bbox=LOSS_BBOX['giou'] | {'smooth_iou': True})
    assert by_loss.smooth_iou
    plain, *smooth = (
        losses(head.double(), 3, 2)['loss_bbox']
        for head in (build(loss_bbox=LOSS_BBOX['giou']), by_head, by_loss)
    )
    assert_close(smooth[0], smooth[1], rtol=0, atol=0)
    assert abs(plain - smooth[0]) > 1e-4


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'box_quality': 'giou'}, "box_quality='giou': use 'centerness' or 'iou'"),
        ({'cls_normalizer': 'mean'}, "='mean': use 'fg' or 'moving_fg' or 'all'"),
        ({'ambiguity': 'big'}, "ambiguity='big': use 'area' or 'nearest'"),
        ({'area_convention': 'x'}, "area_convention='x': use 'mmdet' or 'authors'"),
        (
            {'smooth_iou': True, 'loss_bbox': {'type': 'mmdet.IoULoss'}},
            "smooth_iou=True, but loss_bbox=.*'paperzoo.IoULoss'",
        ),
        (
            {'test_cfg': {'score_mode': 'root'}},
            "test_cfg.score_mode='root': use 'product' or 'sqrt'",
        ),
        (
            {'test_cfg': {'rank_by': 'score'}},
            "test_cfg.rank_by='score': use 'cls' or 'product'",
        ),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FCOSHead(**{k: v for k, v in BASE.items() if k != 'type'}, **options)


def compiled(function: Any) -> Any:
    return torch.compile(function, fullgraph=True, backend='aot_eager')


def test_the_network_compiles_as_one_graph() -> None:
    head = build(strides=STRIDES[:1], regress_ranges=((-1, 1e8),)).double()
    x = features()[:1]
    assert_close(compiled(head)(x), head(x))


def test_the_losses_compile_as_one_graph() -> None:
    # The other test of compiling, in test_head.py, has the default options.
    options = {'box_quality': 'iou', 'cls_normalizer': 'moving_fg', 'smooth_iou': True}
    head, twin = build(**options).double(), build(**options).double()
    outputs = [
        [level.detach().requires_grad_() for level in maps] for maps in twin(features())
    ]
    flat = [level for maps in outputs for level in maps]
    results = []
    for function in (twin.loss_by_feat, compiled(head.loss_by_feat)):
        loss = function(*outputs, ground_truth(3, 2), METAS)
        gradients = torch.autograd.grad(sum(loss.values()), flat)
        results.append(({k: v.detach() for k, v in loss.items()}, gradients))
    assert_close(results[1], results[0])
    assert_close(dict(head.named_buffers()), dict(twin.named_buffers()))
