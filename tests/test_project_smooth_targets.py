"""The penalty and the voting against loops, and their laws."""

from collections.abc import Callable
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
from paperzoo.fcos import FCOSHead, GIoULoss, decode_ltrb, level_points
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


def loop_edges(one: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    total = one.new_zeros(())
    for edge in range(4):
        side = truth[edge % 2 + 2] - truth[edge % 2]
        worse, better = one[edge], other[edge]
        far, other_far = (worse - truth[edge]).abs(), (better - truth[edge]).abs()
        if far == other_far:
            continue
        if far < other_far:
            worse, better = better, worse
        total = total + (worse - better.detach()).abs() / side / 4
    return total


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
                    pairs += 1
                    total = total + loop_edges(boxes[here], boxes[there], truth[here])
    return total, pairs


def random_field(seed: int, objects: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, objects and their boxes, the first near the last."""
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
    boxes, objects, truth = random_field(seed)
    boxes.requires_grad_()
    total, pairs = neighbour_disagreement(boxes, objects, truth)
    expected, count = loop_disagreement(boxes, objects, truth)
    assert_close(total, expected)
    assert int(pairs) == count
    if count:
        assert_close(*(torch.autograd.grad(one, boxes) for one in (total, expected)))


def test_disagreement_by_hand() -> None:
    """Left edges 1 apart in an object 4 wide, lower edges 2 apart, 8 high: 1/8.

    The right edges are 2 apart, but equally far from the truth: neither moves.
    """
    boxes = torch.tensor([[[[0.0, 0, 3, 8], [1.0, 0, 5, 10], [9.0, 9, 9, 9]]]])
    boxes.requires_grad_()
    objects = torch.tensor([[[1, 1, 2]]])
    truth = torch.tensor([0.0, 0.0, 4.0, 8.0]).expand(1, 1, 3, 4)
    total, pairs = neighbour_disagreement(boxes, objects, truth)
    assert_close(total, torch.tensor((1 / 4 + 2 / 8) / 4))
    assert int(pairs) == 1
    (gradient,) = torch.autograd.grad(total, boxes)
    still = torch.zeros(4)
    moved = torch.tensor([1 / 16, 0.0, 0.0, 1 / 32])
    assert_close(gradient, torch.stack([still, moved, still])[None, None])


@settings(max_examples=50)
@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_no_edge_is_pushed_away_from_the_truth(seed: int, dtype: torch.dtype) -> None:
    boxes, objects, truth = (part.to(dtype) for part in random_field(seed, objects=1))
    boxes.requires_grad_()
    total, _ = neighbour_disagreement(boxes, objects.long(), truth)
    (gradient,) = torch.autograd.grad(total, boxes)
    wrong = (gradient != 0) & (gradient.sign() != (boxes - truth).sign())
    assert not wrong.any()


@settings(max_examples=30)
@given(seeds)
def test_who_agrees_pays_nothing(seed: int) -> None:
    """Whatever the box is that all of an object's locations say."""
    boxes, objects, truth = random_field(seed)
    agreed = random_boxes(seed + 1, 3)[0][objects].requires_grad_()
    total, pairs = neighbour_disagreement(agreed, objects, truth)
    (gradient,) = torch.autograd.grad(total, agreed)
    assert total == 0
    assert (gradient == 0).all()
    assert pairs == loop_disagreement(boxes, objects, truth)[1]


def test_the_disagreement_looks_at_no_value() -> None:
    """Tensors on `meta` have none: shapes do not depend on who has found what."""
    field = [part.to('meta') for part in random_field(3)]
    total, pairs = neighbour_disagreement(*field)
    assert total.shape == pairs.shape == ()
    compiled = torch.compile(
        neighbour_disagreement, fullgraph=True, backend='aot_eager'
    )
    assert_close(compiled(*random_field(3)), neighbour_disagreement(*random_field(3)))


def towards_each_other(
    boxes: Tensor, objects: Tensor, truth: Tensor
) -> tuple[Tensor, int]:
    """What is not done here: both of two neighbours move."""
    side = (truth[0, 0, 0, 2:] - truth[0, 0, 0, :2]).repeat(2)
    apart = [boxes.diff(dim=dim).abs() / side for dim in (1, 2)]
    by_dim = [part.mean(-1).sum() for part in apart]
    return torch.stack(by_dim).sum(), 2 * 4 * 3


def trained_toy(penalty: Callable | None, seed: int) -> tuple[float, float]:
    """Regress one box from 4 x 4 locations, with distances behind a ReLU.

    Returns:
        The share of distances that are 0, which get no gradient, and how far the edges
        are from the truth, in strides.
    """
    torch.manual_seed(seed)
    feats, conv = torch.randn(1, 8, 4, 4), torch.nn.Conv2d(8, 4, 1)
    torch.nn.init.normal_(conv.weight, std=0.01)
    torch.nn.init.zeros_(conv.bias)
    places = level_points((4, 4), (1, 1), torch.float32).view(4, 4, 2)
    truth = torch.tensor([-1.0, -1, 5, 5]).expand(1, 4, 4, 4)
    objects = torch.ones(1, 4, 4, dtype=torch.long)
    optimizer = torch.optim.AdamW(conv.parameters(), lr=0.02)
    for _ in range(60):
        ltrb = conv(feats).relu().permute(0, 2, 3, 1)
        boxes = decode_ltrb(places, ltrb)
        loss = GIoULoss()(boxes.view(-1, 4), truth.reshape(-1, 4))
        if penalty is not None:
            total, pairs = penalty(boxes, objects, truth)
            loss = loss + total / pairs
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dead = (ltrb == 0).float().mean()
    return dead.item(), (boxes - truth).abs().mean().item()


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_penalty_does_not_kill_distances_behind_a_relu(seed: int) -> None:
    """Its symmetric form does: what is pulled outwards behind the ReLU stays at 0."""
    _, plain_error = trained_toy(None, seed)
    dead, error = trained_toy(neighbour_disagreement, seed)
    dead_if_both_move, _ = trained_toy(towards_each_other, seed)
    assert dead < 0.3
    assert error < plain_error
    assert dead_if_both_move > 0.6


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
    _, ltrb = head.get_targets(points(), ground_truth())
    return [
        part.unflatten(0, (2, *size)).permute(0, 3, 1, 2)
        for part, size in zip(ltrb, SIZES, strict=True)
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


@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_what_a_head_pays_by_hand(norm_on_bbox: bool) -> None:
    """Two locations, a box 16 wide, one right edge 4 short: 1/4 of one edge in four."""
    head = build(norm_on_bbox=norm_on_bbox, smooth_weight=3.0)
    outs = head(features())
    boxes = torch.tensor([[0.0, 0.0, 16.0, 8.0]], dtype=torch.float64)
    preds = [torch.full_like(level, 7.0) for level in outs[1]]
    preds[0][0, :, 0, 0] = torch.tensor([4.0, 4.0, 8.0, 4.0])
    preds[0][0, :, 0, 1] = torch.tensor([12.0, 4.0, 4.0, 4.0])
    if norm_on_bbox:
        preds[0] = preds[0] / STRIDES[0]
    one = InstanceData(bboxes=boxes, labels=torch.tensor([1]))
    truth = [one, ground_truth()[1]]
    loss = head.loss_by_feat(outs[0], preds, outs[2], truth, METAS)['loss_smooth']
    assert_close(loss, loss.new_tensor(3 / 16))


def test_an_untrained_head_pays_already() -> None:
    """A penalty that waits until objects are found would be 0 here."""
    head = build(norm_on_bbox=True, smooth_weight=1.0)
    torch.manual_seed(0)
    head.init_weights()
    loss = head.loss_by_feat(*head(features()), ground_truth(), METAS)['loss_smooth']
    loss.backward()
    assert loss > 0.05
    assert head.conv_reg.weight.grad.abs().max() > 0


def test_it_is_an_fcos_head_otherwise() -> None:
    """Its other losses, keys and, without voting, predictions are FCOSHead's."""
    plain, ours = build('paperzoo.FCOSHead'), build(smooth_weight=0.5)
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
    [{'smooth_weight': -1.0}, {'voting': 0.0}, {'voting': 1.5}],
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
