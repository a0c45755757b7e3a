"""The FCOS head against mmdet's with the same weights, and where mmdet's fails."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmdet.models.dense_heads import FCOSHead as MMDetFCOSHead
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.testing import assert_close

import paperzoo.fcos.head
from paperzoo.errors import UserError
from paperzoo.fcos import (
    FCOSHead,
    FCOSRangeAssigner,
    centerness,
    level_points,
    pyramid_points,
)

SIZES = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]
STRIDES = [8, 16, 32, 64, 128]
METAS = [{'img_shape': (128, 160), 'scale_factor': (1.0, 1.0)}] * 2
TEST_CFG = ConfigDict(
    nms_pre=200,
    min_bbox_size=0,
    score_thr=0.05,
    nms={'type': 'nms', 'iou_threshold': 0.6},
    max_per_img=50,
)
BASE: dict[str, Any] = {
    'num_classes': 4,
    'in_channels': 8,
    'feat_channels': 8,
    'stacked_convs': 2,
    'strides': STRIDES,
    'norm_cfg': {'type': 'GN', 'num_groups': 4},
    'test_cfg': TEST_CFG,
}
VARIANTS: dict[str, dict[str, Any]] = {
    'baseline': {},
    'improved': {
        'center_sampling': True,
        'norm_on_bbox': True,
        'centerness_on_reg': True,
        'conv_bias': True,
        'loss_bbox': {'type': 'mmdet.GIoULoss', 'loss_weight': 1.0},
    },
    'odds': {
        'center_sampling': True,
        'center_sample_radius': 0.8,
        'cls_predictor_cfg': {'type': 'NormedLinear', 'tempearture': 20},
        'loss_cls': {'type': 'FocalLoss', 'use_sigmoid': True, 'loss_weight': 2.0},
    },
}


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def double_stays_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep mmdet's `x.float()`, meant for half precision, from rounding float64."""
    to_float = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, 'float', lambda t: t if t.dtype == torch.float64 else to_float(t)
    )


def ground_truth(*counts: int, boxes_as: Any = lambda boxes: boxes) -> list:
    instances = []
    for count in counts:
        start = torch.rand(count, 2) * 100
        boxes = torch.cat((start, start + 2 + torch.rand(count, 2) * 90), dim=1)
        labels = torch.randint(0, 4, (count,))
        instances.append(InstanceData(bboxes=boxes_as(boxes), labels=labels))
    return instances


def features(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(2, 8, *size, dtype=dtype).requires_grad_() for size in SIZES]


def points_of(maps: list[Tensor]) -> list[Tensor]:
    return [
        level_points((level.size(2), level.size(3)), (stride, stride))
        for level, stride in zip(maps, STRIDES, strict=True)
    ]


def twins(**options: Any) -> tuple[FCOSHead, MMDetFCOSHead]:
    """Our head and mmdet's with the same, lively weights."""
    config = {**BASE, **options}
    ours = MODELS.build(dict(copy.deepcopy(config), type='paperzoo.FCOSHead'))
    theirs = MMDET_MODELS.build(dict(copy.deepcopy(config), type='FCOSHead'))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        theirs.conv_reg.bias.add_(2.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def step(head: nn.Module, x: list[Tensor], gt: list) -> tuple[dict, list[Tensor]]:
    """The losses, and the gradients of all parameters and features."""
    losses = head.loss_by_feat(*head(x), gt, METAS)
    wanted = [*head.parameters(), *x]
    gradients = torch.autograd.grad(
        sum(losses.values()), wanted, materialize_grads=True
    )
    return losses, list(gradients)


@pytest.mark.paper('fcos Eq. 2')
@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('counts', [(6, 9), (0, 3), (0, 0), (80, 1)])
@pytest.mark.usefixtures('double_stays_double')
def test_training_equals_mmdet(variant: str, counts: tuple[int, int]) -> None:
    torch.manual_seed(sum(counts))
    ours, theirs = (head.double() for head in twins(**VARIANTS[variant]))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, gt = features(), ground_truth(*counts)
    assert_close(ours(x), theirs(x), rtol=0, atol=0)
    losses, gradients = step(ours, x, gt)
    expected_losses, expected_gradients = step(theirs, x, gt)
    assert_close(losses, expected_losses, rtol=1e-9, atol=1e-9)
    for value, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(value, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('variant', VARIANTS)
def test_prediction_equals_mmdet(variant: str) -> None:
    torch.manual_seed(3)
    ours, theirs = (head.eval() for head in twins(**VARIANTS[variant]))
    x = features(torch.float32)
    samples = [DetDataSample(metainfo=meta) for meta in METAS]
    found, expected = ours.predict(x, samples), theirs.predict(x, samples)
    assert [len(image) for image in expected] == [50, 50]
    for mine, other in zip(found, expected, strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            assert_close(mine[key], other[key], rtol=0, atol=0)


@pytest.mark.parametrize('boxes_as', [lambda boxes: boxes, HorizontalBoxes])
@pytest.mark.parametrize('variant', ['baseline', 'improved'])
def test_targets_equal_mmdet(variant: str, boxes_as: Any) -> None:
    torch.manual_seed(5)
    ours, theirs = twins(**VARIANTS[variant])
    points = theirs.prior_generator.grid_priors(SIZES, device='cpu')
    torch.manual_seed(6)
    labels, ltrb = ours.get_targets(points, ground_truth(100, 7, boxes_as=boxes_as))
    torch.manual_seed(6)
    expected_labels, expected = theirs.get_targets(points, ground_truth(100, 7))
    assert_close(labels, expected_labels, rtol=0, atol=0)
    assert sum((level < 4).sum() for level in labels) > 100
    for level, mine, other in zip(labels, ltrb, expected, strict=True):
        positive = level < 4
        assert_close(mine[positive], other[positive], rtol=0, atol=0)
        assert_close(mine[~positive], torch.zeros_like(mine[~positive]))


@pytest.mark.parametrize('variant', ['baseline', 'improved'])
def test_without_objects_boxes_get_a_gradient_of_zero(variant: str) -> None:
    torch.manual_seed(0)
    head = twins(**VARIANTS[variant])[0]
    losses = head.loss_by_feat(
        *head(features(torch.float32)), ground_truth(0, 0), METAS
    )
    assert_close(losses['loss_bbox'].item(), 0.0, rtol=0, atol=0)
    assert_close(losses['loss_centerness'].item(), 0.0, rtol=0, atol=0)
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, f'{name} is not in the graph'
        assert parameter.grad.isfinite().all(), name
        if name.startswith(('conv_reg', 'scales', 'conv_centerness')):
            assert_close(parameter.grad, torch.zeros_like(parameter))
    assert head.conv_cls.weight.grad.abs().sum() > 0


def test_a_huge_exponent_does_not_end_in_nan() -> None:
    torch.manual_seed(0)
    ours, theirs = twins()
    for head in (ours, theirs):
        nn.init.constant_(head.conv_reg.bias, 200.0)
    x, gt = features(torch.float32), ground_truth(3, 2)
    assert not all(g.isfinite().all() for g in step(theirs, x, gt)[1])
    losses, gradients = step(ours, x, gt)
    assert all(value.isfinite() for value in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_boxes_predicted_on_background_do_not_matter() -> None:
    torch.manual_seed(0)
    head, gt = twins()[0], ground_truth(2, 0)
    scores, boxes, centralities = head(features(torch.float32))
    expected = head.loss_by_feat(scores, boxes, centralities, gt, METAS)['loss_bbox']
    labels, _ = head.get_targets(points_of(boxes), gt)
    spoilt = []
    for level, label in zip(boxes, labels, strict=True):
        background = (label == 4).reshape(2, 1, *level.shape[-2:])
        spoilt.append(level.detach().masked_fill(background, torch.inf))
    spoilt = [level.requires_grad_() for level in spoilt]
    loss = head.loss_by_feat(scores, spoilt, centralities, gt, METAS)['loss_bbox']
    assert_close(loss, expected)
    for gradient in torch.autograd.grad(loss, spoilt):
        assert gradient.isfinite().all()


def test_positives_are_averaged_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, x, gt = twins()[0], features(torch.float32), ground_truth(3, 2)
    alone = step(head, x, gt)[0]
    # As if the other ranks had so many more that the mean is twice ours.
    monkeypatch.setattr(paperzoo.fcos.head, 'reduce_mean', lambda value: 2 * value)
    together = step(head, x, gt)[0]
    for key, loss in alone.items():
        assert_close(2 * together[key], loss, msg=f'{key} ignores the other ranks')


@pytest.mark.usefixtures('double_stays_double')
def test_a_centre_ness_sum_below_one_divides_as_in_mmdet() -> None:
    ours, theirs = (head.double() for head in twins())
    x = features()
    # Points of stride 8 just below the upper edge of a flat box.
    box = torch.tensor([[59.75, 19.75, 80.0, 27.0]])
    gt = [InstanceData(bboxes=box, labels=torch.tensor([1]))] * 2
    points = points_of(x)
    labels, ltrb = ours.get_targets(points, gt)
    positive = torch.cat(labels) < 4
    assert 0 < float(centerness(torch.cat(ltrb)[positive]).sum()) < 1
    losses, gradients = step(ours, x, gt)
    expected_losses, expected_gradients = step(theirs, x, gt)
    assert_close(losses, expected_losses, rtol=1e-9, atol=1e-9)
    for value, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(value, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('loss', ['IoULoss', 'GIoULoss'])
@pytest.mark.parametrize('box_quality', ['centerness', 'iou'])
@pytest.mark.usefixtures('double_stays_double')
def test_box_losses_are_as_exact_in_the_far_corner_of_an_image(
    loss: str, box_quality: str
) -> None:
    torch.manual_seed(0)
    options = {
        'type': 'paperzoo.FCOSHead',
        'box_quality': box_quality,
        'loss_bbox': {'type': f'paperzoo.{loss}'},
    }
    head = MODELS.build(copy.deepcopy({**BASE, **options}))
    sizes = [(168, 168), (84, 84), (42, 42), (21, 21), (11, 11)]
    maps = [
        [torch.randn(1, channels, *size) for size in sizes] for channels in (4, 4, 1)
    ]
    maps[1] = [2 + 40 * level.abs() for level in maps[1]]
    start = 1290 + 25 * torch.rand(12, 2)
    boxes = torch.cat((start, start + 5 + 15 * torch.rand(12, 2)), dim=1)
    gt = [InstanceData(bboxes=boxes, labels=torch.randint(0, 4, (12,)))]

    def losses_and_gradients(dtype: torch.dtype) -> tuple[dict, tuple]:
        own = [[level.to(dtype).requires_grad_() for level in kind] for kind in maps]
        truth = [InstanceData(bboxes=boxes.to(dtype), labels=gt[0].labels)]
        found = head.loss_by_feat(*own, truth, METAS[:1])
        boxes_and_quality = found['loss_bbox'] + found['loss_centerness']
        return found, torch.autograd.grad(boxes_and_quality, own[1], allow_unused=True)

    found, gradients = losses_and_gradients(torch.float32)
    expected, exact = losses_and_gradients(torch.float64)
    for key in ('loss_bbox', 'loss_centerness'):
        assert_close(found[key].double(), expected[key], rtol=5e-7, atol=0)
    for value, true in zip(gradients, exact, strict=True):
        assert_close(value.double(), true, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize('variant', VARIANTS)
def test_configs_and_inputs_are_left_alone(variant: str) -> None:
    config = dict(copy.deepcopy({**BASE, **VARIANTS[variant]}), type=FCOSHead)
    before = copy.deepcopy(config)
    head, second = MODELS.build(config), MODELS.build(config)
    assert config == before
    assert list(second.state_dict()) == list(head.state_dict())
    outputs = head.eval()(features(torch.float32))
    copies = [[level.clone() for level in levels] for levels in outputs]
    gt = ground_truth(2, 1)
    boxes = [image.bboxes.clone() for image in gt]
    head.loss_by_feat(*outputs, gt, METAS)
    head.predict_by_feat(*outputs, METAS)
    assert_close(list(map(list, outputs)), copies, rtol=0, atol=0)
    assert_close([image.bboxes for image in gt], boxes, rtol=0, atol=0)


def test_strides_may_differ_between_the_axes() -> None:
    torch.manual_seed(0)
    pairs = [(stride, 2 * stride) for stride in STRIDES]
    head = MODELS.build(
        {**BASE, 'type': FCOSHead, 'strides': pairs} | {'norm_on_bbox': True}
    )
    box = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 40, 40]]), labels=torch.tensor([1])
    )
    # One point at (20, 24) of the first level, where strides are 8 and 16.
    points = [torch.tensor([[20.0, 24.0]])] + [torch.full((1, 2), -1.0)] * 4
    labels, ltrb = head.get_targets(points, [box])
    assert [level.item() for level in labels] == [1, 4, 4, 4, 4]
    assert_close(ltrb[0], torch.tensor([[20 / 8, 24 / 16, 20 / 8, 16 / 16]]))
    x = features(torch.float32)
    in_strides, in_pixels = head(x)[1][0], head.eval()(x)[1][0]
    factor = torch.tensor([8.0, 16.0, 8.0, 16.0]).view(4, 1, 1)
    assert_close(in_pixels, in_strides * factor)


def test_the_loss_learns_what_get_targets_says() -> None:
    class Shifted(FCOSHead):
        """As one would write it for mmdet's head: with its arguments alone."""

        def get_targets(self, points: list[Tensor], batch_gt_instances: list) -> tuple:
            labels, targets = super().get_targets(points, batch_gt_instances)
            return labels, [level + 1 for level in targets]

    head, gt = twins()[0], ground_truth(3, 2)
    seen: list[Any] = []
    assign = head.assigner.assign_batch

    def spy(*args: Any) -> Any:
        seen.append(args[0])
        return assign(*args)

    head.assigner.assign_batch = spy
    outs = head(features(torch.float32))
    plain = head.loss_by_feat(*outs, gt, METAS)
    head.__class__ = Shifted
    shifted = head.loss_by_feat(*outs, gt, METAS)
    assert_close(shifted['loss_cls'], plain['loss_cls'], rtol=0, atol=0)
    assert abs(shifted['loss_bbox'] - plain['loss_bbox']) > 1e-3
    # The assigner need not find out that the points are grids, nor could it on a GPU.
    assert [points.sizes for points in seen] == [SIZES] * 2


@pytest.mark.parametrize('variant', VARIANTS)
def test_targets_of_a_batch_are_those_of_its_images(variant: str) -> None:
    head = twins(**VARIANTS[variant])[0]
    points = pyramid_points(SIZES, head.stride_pairs)
    for counts in ((3, 0, 70), (0, 0), (2,)):
        gts = [ground_truth(count)[0] for count in counts]
        labels, ltrb = head.get_targets(points, gts)
        alone = [head.get_targets(points, [gt]) for gt in gts]
        for level, _ in enumerate(points):
            for found, index in ((labels, 0), (ltrb, 1)):
                expected = torch.cat([one[index][level] for one in alone])
                assert_close(found[level], expected, rtol=0, atol=0)


def test_an_assigner_can_be_given() -> None:
    assigner = {'type': 'paperzoo.FCOSRangeAssigner', 'center_sample_radius': 3}
    head = FCOSHead(**BASE, assigner=assigner)
    assert isinstance(head.assigner, FCOSRangeAssigner)
    assert head.assigner.center_sample_radius == 3


def test_a_loss_that_hides_its_sigmoid_is_refused() -> None:
    with pytest.raises(UserError, match='add use_sigmoid=True'):
        FCOSHead(**BASE, loss_cls={'type': 'paperzoo.FocalLoss'})


def test_targets_and_losses_compile_as_one_graph() -> None:
    torch.manual_seed(0)
    head, gt = twins(**VARIANTS['improved'])[0], ground_truth(3, 2)
    head.loss_bbox = MODELS.build({'type': 'paperzoo.GIoULoss'})
    head.loss_cls = MODELS.build({'type': 'paperzoo.FocalLoss'})
    head.loss_centerness = MODELS.build({'type': 'paperzoo.CenternessLoss'})
    outputs = [
        [level.detach().requires_grad_() for level in levels]
        for levels in head(features(torch.float32))
    ]
    compiled = torch.compile(head.loss_by_feat, fullgraph=True, backend='aot_eager')
    results = []
    for function in (compiled, head.loss_by_feat):
        losses = function(*outputs, gt, METAS)
        flat = [level for levels in outputs for level in levels]
        gradients = torch.autograd.grad(sum(losses.values()), flat)
        results.append(({k: v.detach() for k, v in losses.items()}, gradients))
    assert_close(results[0], results[1])


@pytest.mark.parametrize('levels', [1, 3])
def test_other_maps_than_strides(levels: int) -> None:
    head = FCOSHead(2, 8, feat_channels=8, stacked_convs=1, strides=[8, 16],
                    regress_ranges=((-1, 64), (64, 1e8)),
                    norm_cfg=dict(type='BN'))  # fmt: skip
    maps = [torch.zeros(1, 8, 4, 4)] * levels
    with pytest.raises(UserError, match=f'2 levels, but the neck gives {levels}'):
        head(maps)
