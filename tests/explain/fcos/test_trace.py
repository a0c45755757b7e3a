"""What is explained is what the head does: assignment, losses, suppression."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from references import fcos as reference
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.explain.fcos.trace import (
    Losses,
    Truth,
    explain,
    losses_per_object,
    truth_of,
)
from paperzoo.explain.fcos.trace_detections import (
    DROPPED,
    KEPT,
    Maps,
    candidates_of,
    maps_of,
)
from paperzoo.fcos import FCOSHead, GIoULoss, IoULoss
from paperzoo.utils.errors import UserError

STRIDES = [8, 16]
RANGES = ((-1, 20), (20, 1e8))
SIZE = (48, 64)
# The first two overlap; all coordinates lie off the grid of the points.
BOXES = torch.tensor([[3.0, 5, 41, 39], [17.0, 9, 45, 31], [49.0, 3, 61, 45]])
LABELS = torch.tensor([2, 0, 1])
TEST_CFG = ConfigDict(
    nms_pre=60,
    min_bbox_size=0,
    score_thr=0.3,
    nms={'type': 'nms', 'iou_threshold': 0.5},
)


class Detector(nn.Module):
    """Random features of an image, and a head."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.bbox_head = head_of(**options)
        for down in STRIDES:
            shape = (1, 8, SIZE[0] // down, SIZE[1] // down)
            self.register_buffer(f'level{down}', torch.randn(shape))

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.get_buffer(f'level{down}') for down in STRIDES)


def head_of(**options: Any) -> FCOSHead:
    torch.manual_seed(0)
    head = FCOSHead(
        3,
        8,
        **{
            'regress_ranges': RANGES,
            'strides': STRIDES,
            'feat_channels': 8,
            'stacked_convs': 1,
            'norm_cfg': None,
            'test_cfg': TEST_CFG | {'max_per_img': 100},
            **options,
        },
    )
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    for scale in head.scales:
        scale.scale.data.fill_(4.0)
    return head.eval()


def sample_of(boxes: Tensor | None = BOXES) -> Any:
    data = SimpleNamespace(img_shape=SIZE)
    if boxes is not None:
        data.gt_instances = InstanceData(bboxes=boxes, labels=LABELS[: len(boxes)])
    return SimpleNamespace(
        inputs=torch.zeros(1, 3, *SIZE), data_sample=data, annotated=boxes is not None
    )


def explained(boxes: Tensor = BOXES, **options: Any) -> tuple[FCOSHead, Maps, Truth]:
    model = Detector(**options)
    found = explain(model, sample_of(boxes))
    assert found.truth is not None
    return model.bbox_head, found.maps, found.truth


def owners(
    maps: Maps, ranges: tuple = RANGES, radius: float | None = None
) -> list[int]:
    sizes = [height * width for height, width in maps.sizes]
    points = [[tuple(xy) for xy in one.tolist()] for one in maps.points.split(sizes)]
    strides = [(stride, stride) for stride in STRIDES]
    return reference.assign(
        points, strides, list(ranges), [tuple(box) for box in BOXES.tolist()], radius
    )


@pytest.mark.parametrize('sampling', [False, True])
@pytest.mark.paper('fcos "Multi-level Prediction with FPN"')
def test_the_assignment_is_the_assigners(sampling: bool) -> None:
    head, maps, truth = explained(center_sampling=sampling)
    expected = owners(maps, radius=1.5 if sampling else None)
    assert truth.assignment.gt_inds.tolist() == expected
    assert len(set(expected)) == 4
    points = list(maps.points.split([h * w for h, w in maps.sizes]))
    again = head.assigner.assign(points, head.stride_pairs, BOXES, maps.sizes)
    assert_close(truth.assignment.gt_inds, again, rtol=0, atol=0)


def test_the_variants_switch_ranges_and_centre_sampling() -> None:
    _, maps, truth = explained(center_sampling=True, center_sample_radius=1.0)
    every = ((-1, 1e8), (-1, 1e8))
    for (ranges, sampling), found in truth.variants.items():
        expected = owners(maps, RANGES if ranges else every, 1.0 if sampling else None)
        assert found.gt_inds.tolist() == expected
    assert_close(truth.variants[True, True].gt_inds, truth.assignment.gt_inds)


def test_ambiguous_points_and_boxes_that_nothing_can_learn() -> None:
    tiny = torch.tensor([[5.0, 5.0, 7.0, 7.0]])  # between the points
    _, maps, truth = explained(torch.cat((BOXES[:2], tiny)))
    choice = truth.assignment
    assert choice.learnable.tolist() == [True, True, False]
    inside = lambda box: (maps.points > box[:2]).all(1) & (maps.points < box[2:]).all(1)
    reach = lambda box: torch.maximum(
        maps.points - box[:2], box[2:] - maps.points
    ).amax(1)
    fine = torch.arange(len(maps.points)) < 48
    fits = [
        inside(box) & torch.where(fine, reach(box) <= 20, reach(box) >= 20)
        for box in BOXES[:2]
    ]
    assert_close(choice.ambiguous, fits[0] & fits[1])
    assert choice.ambiguous.any()
    assert (choice.gt_inds[choice.ambiguous] == 2).all()  # of smaller area


@pytest.mark.paper('fcos Eq. 3')
def test_the_target_of_the_centre_ness() -> None:
    _, maps, truth = explained()
    for point, owner, value in zip(
        maps.points.tolist(),
        truth.assignment.gt_inds.tolist(),
        truth.quality_target.tolist(),
        strict=True,
    ):
        if not owner:
            assert value != value
            continue
        ltrb = reference.distances(tuple(point), tuple(BOXES[owner - 1].tolist()))
        assert value == pytest.approx(reference.centerness(*ltrb), abs=1e-6)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'norm_on_bbox': True, 'center_sampling': True},
        {'box_quality': 'iou', 'cls_normalizer': 'moving_fg'},
        {'cls_normalizer': 'all', 'loss_bbox': {'type': GIoULoss, 'loss_weight': 2.0}},
        {'norm_on_bbox': True, 'smooth_iou': True, 'loss_bbox': {'type': IoULoss}},
    ],
)
@pytest.mark.parametrize('objects', [0, 3])
@pytest.mark.paper('fcos Eq. 2')
def test_the_losses_add_up_to_the_heads(options: dict, objects: int) -> None:
    head, _, truth = explained(BOXES[:objects], **options)
    features = Detector(**options).extract_feat(torch.empty(0))
    # In training the distances are in strides; the head has no other difference.
    head.training = True
    data = InstanceData(bboxes=BOXES[:objects], labels=LABELS[:objects])
    with torch.no_grad():
        expected = head.loss_by_feat(*head(features), [data], [{}])
    for name in ('cls', 'bbox', 'centerness'):
        per_object = getattr(truth.losses, name)
        assert per_object.shape == (objects + 1,)
        assert_close(per_object.sum(), expected[f'loss_{name}'])
    assert truth.losses.points.sum() == len(truth.assignment.gt_inds)
    assert truth.losses.bbox[0] == truth.losses.centerness[0] == 0


def test_an_object_pays_for_its_own_points_only() -> None:
    head, maps, truth = explained()
    gt_inds = truth.assignment.gt_inds

    def losses(moved: Tensor) -> Losses:
        # Distances at which every box overlaps its object, and not wholly.
        changed = Maps(
            maps.points,
            maps.sizes,
            maps.logits + moved[:, None],
            torch.full_like(maps.ltrb, 10.0) + moved[:, None],
            maps.quality + moved,
        )
        with torch.no_grad():
            return losses_per_object(head, changed, BOXES, LABELS, gt_inds)

    before = losses(torch.zeros(len(gt_inds)))
    for owner in range(4):
        after = losses((gt_inds == owner).float())
        for name in ('cls', 'bbox', 'centerness'):
            same = getattr(after, name) == getattr(before, name)
            # The background has a class loss only.
            moved = owner if owner or name == 'cls' else -1
            assert same.tolist() == [row != moved for row in range(4)]


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'score_mode': 'sqrt', 'rank_by': 'product', 'threshold_by': 'product'},
        {'max_per_img': 5},
        {'nms': {'type': 'nms', 'iou_threshold': 0.5, 'offset': 1}},
        {'nms': {'type': 'nms', 'iou_threshold': 0.4, 'class_agnostic': True}},
        {'score_thr': 1.0},
    ],
)
def test_what_is_kept_is_what_the_head_predicts(options: dict) -> None:
    model = Detector(test_cfg=TEST_CFG | {'max_per_img': 100} | options)
    with torch.no_grad():
        maps = maps_of(model.bbox_head, features := model.extract_feat(torch.empty(0)))
        found = candidates_of(model.bbox_head, maps, SIZE)
        (expected,) = model.bbox_head.predict_by_feat(
            *model.bbox_head(features),
            batch_img_metas=[{'img_shape': SIZE, 'scale_factor': (1.0, 1.0)}],
        )
    kept = torch.nonzero(found.removed_by == KEPT).flatten()
    kept = kept[found.score[kept].argsort(descending=True)]
    assert_close(found.score[kept], expected.scores)
    assert_close(found.boxes[kept], expected.bboxes)
    assert_close(found.label[kept], expected.labels)
    assert (len(kept) > 0) == ('score_thr' not in options)
    assert (found.cls_score.diff() <= 0).all()
    dropped = (found.removed_by == DROPPED).any()
    assert dropped == ('max_per_img' in options)


def test_looking_changes_nothing() -> None:
    model = Detector(cls_normalizer='moving_fg')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    first, second = (explain(model, sample_of()) for _ in range(2))
    for key, value in model.state_dict().items():
        assert_close(value, before[key], rtol=0, atol=0)
    assert modes == [part.training for part in model.modules()]
    for field in fields(first.candidates):
        ours, again = (getattr(one.candidates, field.name) for one in (first, second))
        assert_close(ours, again, rtol=0, atol=0)


def test_without_annotations_there_are_predictions_only() -> None:
    found = explain(Detector(), sample_of(None))
    assert found.truth is None
    assert len(found.candidates.point) > 0
    assert [level.shape for level in found.maps.levels(found.maps.quality)] == [
        (6, 8),
        (3, 4),
    ]


def test_an_image_without_objects() -> None:
    head, maps, truth = explained(BOXES[:0])
    assert not truth.assignment.gt_inds.any()
    assert truth.quality_target.isnan().all()
    again = truth_of(head, maps, BOXES[:0], LABELS[:0])
    assert again.losses.cls.shape == (1,)


def test_another_assigner_is_refused() -> None:
    model = Detector()
    model.bbox_head.assigner = SimpleNamespace()
    with pytest.raises(UserError, match='SimpleNamespace: what is explained'):
        explain(model, sample_of())
