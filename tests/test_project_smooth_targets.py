"""The penalty and the voting against loops, and their laws."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from project_tools import assert_learns_and_predicts, load
from torch import Tensor
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead, decode_ltrb, level_points
from projects.smooth_targets.head import SmoothFCOSHead
from projects.smooth_targets.neighbours import neighbour_disagreement, vote

SIZES = [(6, 8), (3, 4)]
STRIDES = [8, 16]
METAS = [{'img_shape': (48, 64), 'scale_factor': (1.0, 1.0)}] * 2
TEST_CFG = ConfigDict(
    nms_pre=100,
    min_bbox_size=0,
    score_thr=0.05,
    nms={'type': 'nms', 'iou_threshold': 0.5},
    max_per_img=20,
)
seeds = st.integers(0, 10_000)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    start, end = torch.maximum(one[:2], other[:2]), torch.minimum(one[2:], other[2:])
    common = (end - start).clamp(min=0).prod()
    return common / (
        (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common
    )


def loop_disagreement(
    boxes: Tensor, objects: Tensor, truth: Tensor
) -> tuple[Tensor, int]:
    total, pairs = boxes.new_zeros(()), 0
    images, height, width = objects.shape
    for image in range(images):
        for y in range(height):
            for x in range(width):
                for other_y, other_x in ((y + 1, x), (y, x + 1)):
                    if other_y == height or other_x == width:
                        continue
                    here, there = (image, y, x), (image, other_y, other_x)
                    if objects[here] == 0 or objects[here] != objects[there]:
                        continue
                    own = truth[here]
                    if min(overlap(boxes[at], own) for at in (here, there)) < 0.5:
                        continue
                    wide, high = own[2:] - own[:2]
                    moved = (boxes[here] - boxes[there]).abs()
                    parts = moved / torch.stack([wide, high, wide, high])
                    total, pairs = total + parts.sum() / 4, pairs + 1
    return total, pairs


def random_field(seed: int, objects: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes around the truth, most of which overlap it by half."""
    torch.manual_seed(seed)
    size = (2, int(torch.randint(1, 5, ())), int(torch.randint(1, 5, ())))
    owners = torch.randint(0, objects + 1, size)
    truth = random_boxes(seed, objects + 1)[0][owners]
    return truth + torch.randn_like(truth), owners, truth


def random_boxes(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    start = torch.rand(count, 2, dtype=torch.float64) * 10
    boxes = torch.cat((start, start + 5 + 10 * torch.rand_like(start)), dim=1)
    return boxes, torch.randint(0, 2, (count,)), torch.rand(count).double() + 0.01


@settings(max_examples=30)
@given(seeds)
def test_disagreement_is_the_loops(seed: int) -> None:
    field = random_field(seed)
    total, pairs = neighbour_disagreement(*field)
    expected, count = loop_disagreement(*field)
    assert_close(total, expected)
    assert int(pairs) == count


def test_disagreement_by_hand() -> None:
    """Left edges 1 apart in an object 4 wide, lower edges 2 apart, 8 high: 1/8."""
    boxes = torch.tensor([[[[0.0, 0, 4, 8], [1.0, 0, 4, 10], [9.0, 9, 9, 9]]]])
    objects = torch.tensor([[[1, 1, 2]]])
    truth = torch.tensor([0.0, 0.0, 4.0, 8.0]).expand(1, 1, 3, 4)
    total, pairs = neighbour_disagreement(boxes, objects, truth)
    assert_close(total, torch.tensor((1 / 4 + 2 / 8) / 4))
    assert int(pairs) == 1
    # The second box has an IoU of 24 / 38 with the truth.
    for least_iou, expected in ((0.63, 1), (0.64, 0)):
        found = neighbour_disagreement(boxes, objects, truth, least_iou)
        assert [int(pairs) for pairs in found[1:]] == [expected]
        assert (found[0] > 0) == expected


@settings(max_examples=30)
@given(seeds)
def test_who_agrees_pays_nothing(seed: int) -> None:
    _, objects, truth = random_field(seed)
    total, pairs = neighbour_disagreement(truth + 0.1, objects, truth)
    assert total < 1e-12
    assert pairs == loop_disagreement(truth, objects, truth)[1]


def test_who_has_not_found_the_object_pays_nothing() -> None:
    """Boxes that have shrunk to points get no push, in whatever direction."""
    _, objects, truth = random_field(3, objects=1)
    points = torch.rand_like(truth[..., :2]).repeat(1, 1, 1, 2).requires_grad_()
    total, pairs = neighbour_disagreement(points, objects, truth)
    total.backward()
    assert loop_disagreement(truth, objects, truth)[1] > 0
    assert pairs == 0
    assert points.grad is not None
    assert (points.grad == 0).all()


def test_gradient_of_the_disagreement() -> None:
    boxes, objects, truth = random_field(3, objects=1)
    assert neighbour_disagreement(boxes, objects, truth)[1] > 0
    assert torch.autograd.gradcheck(
        lambda given: neighbour_disagreement(given, objects, truth)[0],
        boxes.requires_grad_(),
    )


def build(kind: str = 'SmoothFCOSHead', **options: Any) -> Any:
    head = MODELS.build(
        {
            'type': kind,
            'num_classes': 3,
            'in_channels': 8,
            'feat_channels': 8,
            'stacked_convs': 1,
            'strides': STRIDES,
            'regress_ranges': ((-1, 24), (24, 1e8)),
            'norm_cfg': {'type': torch.nn.GroupNorm, 'num_groups': 4},
            'test_cfg': TEST_CFG,
            **options,
        }
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        # Boxes of some size and of similar ones, so that they overlap.
        head.conv_reg.weight.mul_(0.1)
        head.conv_reg.bias.fill_(2.5)
        for scale in head.scales:
            scale.scale.fill_(1.0)
    return head.double()


def features() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 8, *size, dtype=torch.float64) for size in SIZES]


def ground_truth() -> list[InstanceData]:
    boxes = torch.tensor(
        [[2.0, 2.0, 40.0, 44.0], [20.0, 4.0, 60.0, 30.0]], dtype=torch.float64
    )
    both = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
    return [both, InstanceData(bboxes=boxes[:0], labels=both.labels[:0])]


def points() -> list[Tensor]:
    return [
        level_points(size, (stride, stride), torch.float64)
        for size, stride in zip(SIZES, STRIDES, strict=True)
    ]


def right_distances(head: Any) -> list[Tensor]:
    """What the head should predict on each level, (images, 4, height, width)."""
    _, ltrb = head._targets(points(), ground_truth())
    parts = ltrb.split([height * width for height, width in SIZES], dim=1)
    return [
        part.transpose(1, 2).unflatten(2, size)
        for part, size in zip(parts, SIZES, strict=True)
    ]


@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_disagreement_of_a_head_is_measured_in_pixels(norm_on_bbox: bool) -> None:
    head = build(norm_on_bbox=norm_on_bbox)
    preds = right_distances(head)
    preds = [level + torch.rand_like(level) for level in preds]
    found = head.disagreement(preds, [gt.bboxes for gt in ground_truth()])
    (truth, _), total, count = ground_truth(), found.new_zeros(()), 0
    inds = head.assigner.assign(points(), head.stride_pairs, truth.bboxes)
    assert set(inds.tolist()) == {0, 1, 2}
    around = torch.cat((truth.bboxes[:1], truth.bboxes))
    split = inds.split([height * width for height, width in SIZES])
    for pred, own, place, stride in zip(preds, split, points(), STRIDES, strict=True):
        ltrb = pred[0].flatten(1).T * (stride if norm_on_bbox else 1)
        size = (1, *pred.shape[-2:])
        part, pairs = loop_disagreement(
            decode_ltrb(place, ltrb).view(*size, 4),
            own.view(size),
            around[own].view(*size, 4),
        )
        total, count = total + part, count + pairs
    assert count > 5
    assert_close(found, total / count)


@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_a_head_that_is_right_pays_nothing(norm_on_bbox: bool) -> None:
    head = build(norm_on_bbox=norm_on_bbox)
    maps = right_distances(head)
    found = head.disagreement(maps, [gt.bboxes for gt in ground_truth()])
    assert_close(found, found.new_zeros(()), atol=1e-12, rtol=0)


def test_it_is_an_fcos_head_otherwise() -> None:
    """Its other losses, keys and, without voting, predictions are FCOSHead's."""
    plain, ours = build('paperzoo.FCOSHead'), build(smooth_weight=0.5, found_iou=0.1)
    assert [type(plain), type(ours)] == [FCOSHead, SmoothFCOSHead]
    assert list(plain.state_dict()) == list(ours.state_dict())
    outs: Any = plain(features())
    losses = ours.loss_by_feat(*outs, ground_truth(), METAS)
    expected = 0.5 * ours.disagreement(outs[1], [g.bboxes for g in ground_truth()])
    assert expected > 0
    assert_close(losses.pop('loss_smooth'), expected)
    assert_close(losses, plain.loss_by_feat(*outs, ground_truth(), METAS))
    assert 'loss_smooth' not in build().loss_by_feat(*outs, ground_truth(), METAS)
    outs = plain.eval()(features())
    for one, other in zip(
        plain.predict_by_feat(*outs, METAS),
        ours.eval().predict_by_feat(*outs, METAS),
        strict=True,
    ):
        assert len(one) > 3
        for key in ('bboxes', 'scores', 'labels'):
            assert_close(one[key], other[key], rtol=0, atol=0)


def test_no_objects_no_penalty() -> None:
    head = build(smooth_weight=1.0)
    outs = head(features())
    empty = [ground_truth()[1]] * 2
    loss = head.loss_by_feat(*outs, empty, METAS)['loss_smooth']
    loss.backward()
    assert loss == 0
    assert (head.conv_reg.weight.grad == 0).all()


@settings(max_examples=30)
@given(seeds, st.integers(1, 12))
def test_voting_is_the_loops(seed: int, count: int) -> None:
    boxes, labels, scores = random_boxes(seed, count)
    kept = slice(0, count, 2)
    found = vote(boxes[kept], labels[kept], boxes, labels, scores, 0.4)
    rows = []
    for box, label in zip(boxes[kept], labels[kept], strict=True):
        voters = [
            (score * overlap(box, other), other)
            for other, own, score in zip(boxes, labels, scores, strict=True)
            if own == label and overlap(box, other) >= 0.4
        ]
        weights = torch.stack([weight for weight, _ in voters])
        rows.append(weights @ torch.stack([other for _, other in voters]))
        rows[-1] = rows[-1] / weights.sum()
    assert_close(found, torch.stack(rows))


@settings(max_examples=30)
@given(seeds)
def test_a_box_alone_stays_where_it_is(seed: int) -> None:
    boxes, labels, scores = (part.float() for part in random_boxes(seed, 1))
    found = vote(boxes, labels.long(), boxes, labels.long(), scores, 0.5)
    assert_close(found, boxes, rtol=0, atol=0)


def test_a_box_without_area_stays_where_it_is() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    label = torch.tensor([0])
    found = vote(point, label, point, label, torch.ones(1), 0.5)
    assert_close(found, point, rtol=0, atol=0)


def predicted(voting: float | None) -> InstanceData:
    head = build(voting=voting).eval()
    return head.predict_by_feat(*head(features()), METAS)[0]


def test_only_boxes_move_and_each_by_its_neighbours() -> None:
    plain, voted = predicted(None), predicted(0.5)
    assert_close(voted.scores, plain.scores, rtol=0, atol=0)
    assert_close(voted.labels, plain.labels)
    head = build().eval()
    everything = head.predict_by_feat(*head(features()), METAS, with_nms=False)[0]
    expected = vote(
        plain.bboxes,
        plain.labels,
        everything.bboxes,
        everything.labels,
        everything.scores,
        0.5,
    )
    assert_close(voted.bboxes, expected)
    assert (voted.bboxes - plain.bboxes).abs().max() > 0.1
    # Nothing but itself has an IoU of 1 with a box.
    assert_close(predicted(1.0).bboxes, plain.bboxes)


@pytest.mark.parametrize(
    'wrong',
    [{'smooth_weight': -1.0}, {'found_iou': 0.0}, {'voting': 0.0}, {'voting': 1.5}],
)
def test_what_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    (value,) = wrong.values()
    with pytest.raises(UserError, match=f'={value}'):
        build(**wrong)


@pytest.mark.parametrize('data', ['shapes', 'bccd'])
def test_configs(data: str) -> None:
    cfg = load(f'smooth_targets_{data}')
    model = assert_learns_and_predicts(cfg, 'loss_smooth')
    assert type(model.bbox_head) is SmoothFCOSHead
    assert model.bbox_head.voting == 0.6
