"""What is explained is what the model does: assignment, losses, suppression."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from references import fcos as reference
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.explain.fcos.trace import Fate, FCOSExplanation, Maps, Truth, explain
from paperzoo.fcos import FCOSHead, GIoULoss, IoULoss
from projects.smooth_targets.head import SmoothFCOSHead

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


class Detector(SingleStageDetector):
    """Random features of an image, and a head."""

    def __init__(self, kind: type[FCOSHead] = FCOSHead, **options: Any) -> None:
        super(SingleStageDetector, self).__init__()
        self.bbox_head = head_of(kind, **options)
        for down in STRIDES:
            shape = (1, 8, SIZE[0] // down, SIZE[1] // down)
            self.register_buffer(f'level{down}', torch.randn(shape))
        self.eval()

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.get_buffer(f'level{down}') for down in STRIDES)


def head_of(kind: type[FCOSHead] = FCOSHead, **options: Any) -> FCOSHead:
    torch.manual_seed(0)
    head = kind(
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
    data = DetDataSample(metainfo={'img_shape': SIZE, 'scale_factor': (1.0, 1.0)})
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


def loss_of(model: Detector, boxes: Tensor = BOXES) -> dict[str, Tensor]:
    """What the model itself returns when it trains, its layers in evaluation mode."""
    model.bbox_head.training = True
    with torch.no_grad():
        losses = model.loss(torch.zeros(1, 3, *SIZE), [sample_of(boxes).data_sample])
    model.bbox_head.training = False
    return losses


def predictions_of(model: Detector) -> InstanceData:
    with torch.no_grad():
        (found,) = model.predict(
            torch.zeros(1, 3, *SIZE), [sample_of().data_sample], rescale=False
        )
    return found.pred_instances


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
    expected = loss_of(Detector(**options), BOXES[:objects])
    terms = truth.losses.terms
    assert list(terms) == list(expected) == ['loss_cls', 'loss_bbox', 'loss_centerness']
    for name, per_object in terms.items():
        assert per_object.shape == (objects + 2,)
        assert per_object[-1] == 0
        assert_close(per_object.sum(), expected[name])
    assert_close(truth.losses.total, float(sum(expected.values())))
    assert truth.losses.rest == {}
    assert_close(truth.owners, truth.assignment.gt_inds, rtol=0, atol=0)
    assert terms['loss_bbox'][0] == terms['loss_centerness'][0] == 0
    assert not head.training


@pytest.mark.parametrize('norm_on_bbox', [False, True])
@pytest.mark.paper('fcos Eq. 1')
def test_the_distances_are_those_of_the_loss_in_pixels(norm_on_bbox: bool) -> None:
    _, maps, truth = explained(norm_on_bbox=norm_on_bbox)
    for point, owner, ltrb in zip(
        maps.points.tolist(), truth.owners.tolist(), truth.ltrb.tolist(), strict=True
    ):
        expected = (0.0,) * 4
        if owner:
            box = tuple(BOXES[owner - 1].tolist())
            expected = reference.distances(tuple(point), box)
        assert ltrb == pytest.approx(expected, abs=1e-5)


def test_an_object_pays_for_its_own_points_only() -> None:
    head, _, truth = explained()
    owners, points = truth.owners, len(truth.owners)

    def losses(moved: Tensor) -> dict[str, Tensor]:
        # Distances at which every box overlaps its object, and not wholly.
        inputs = head.loss_inputs(
            torch.zeros(1, points, 3) + moved[:, None],
            torch.full((1, points, 4), 10.0) + moved[:, None],
            torch.zeros(1, points) + moved,
            torch.cat((torch.tensor([3]), LABELS))[owners][None],
            truth.ltrb[None],
        )
        found = head.losses(inputs, per_location=True)
        return {
            name: torch.zeros(4).index_add(0, owners, one)
            for name, one in found.items()
        }

    before = losses(torch.zeros(points))
    for owner in range(4):
        after = losses((owners == owner).float())
        for name in before:
            same = after[name] == before[name]
            # The background has a class loss only.
            moved = owner if owner or name == 'loss_cls' else -1
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
    found = explain(model, sample_of())
    expected, boxes = predictions_of(model), found.candidates
    assert boxes is not None
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found.predictions[key], expected[key], rtol=0, atol=0)
    kept = boxes.detections
    assert_close(boxes.score[kept], expected.scores, rtol=0, atol=0)
    assert_close(boxes.boxes[kept], expected.bboxes, rtol=0, atol=0)
    assert_close(boxes.label[kept], expected.labels, rtol=0, atol=0)
    assert (len(kept) > 0) == ('score_thr' not in options)
    assert (boxes.cls_score.diff() <= 0).all()
    assert (boxes.fate == Fate.DETECTION).nonzero().flatten().tolist() == sorted(
        kept.tolist()
    )
    dropped = (boxes.fate == Fate.MAX_PER_IMG).any()
    assert dropped == ('max_per_img' in options)
    assert ((boxes.removed_by >= 0) == (boxes.fate == Fate.NMS)).all()
    assert found.redefined == ''


def test_the_fate_of_every_box_above_the_threshold() -> None:
    """Each limit takes what it would take of what the limits before it left."""
    cfg = TEST_CFG | {'nms_pre': 20, 'min_bbox_size': 12, 'max_per_img': 6}
    model = Detector(test_cfg=cfg)
    found = explain(model, sample_of())
    boxes, maps = found.candidates, found.maps
    assert boxes is not None
    above = torch.nonzero(maps.scores > 0.3)
    pairs = torch.stack((boxes.point, boxes.label), dim=1)
    assert sorted(pairs.tolist()) == above.tolist()
    assert_close(boxes.score, boxes.cls_score * boxes.quality)
    fates = [Fate(one) for one in boxes.fate.tolist()]
    assert set(fates) == set(Fate)
    fine = boxes.point < 48
    for level in (fine, ~fine):
        # They come by falling class score: the first 20 of a level pass.
        passed = (boxes.fate[level] != Fate.NMS_PRE).nonzero().flatten()
        assert passed.tolist() == list(range(min(20, int(level.sum()))))
    sides = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).amin(dim=1)
    rest = boxes.fate != Fate.NMS_PRE
    assert ((sides <= 12) & rest == (boxes.fate == Fate.MIN_BBOX_SIZE)).all()
    kept = [n for n, one in enumerate(fates) if one == Fate.DETECTION]
    assert len(kept) == 6
    late = boxes.score[boxes.fate == Fate.MAX_PER_IMG]
    assert late.max() <= boxes.score[kept].min()


def test_boxes_of_equal_class_score_stay_in_the_heads_order() -> None:
    """On the page they have numbers by that order, and name each other by them."""
    model = Detector(test_cfg=TEST_CFG | {'max_per_img': 100, 'score_thr': 0.0})
    nn.init.zeros_(model.bbox_head.conv_cls.weight)
    nn.init.zeros_(model.bbox_head.conv_cls.bias)
    boxes = explain(model, sample_of()).candidates
    assert boxes is not None
    assert (boxes.cls_score == 0.5).all()
    pairs = list(zip(boxes.point.tolist(), boxes.label.tolist(), strict=True))
    assert pairs == [(point, label) for point in range(60) for label in range(3)]
    nn.init.zeros_(model.bbox_head.conv_centerness.weight)
    boxes = explain(model, sample_of()).candidates
    assert boxes is not None
    assert len(boxes.score.unique()) == 1
    # Those that lose against a box of equal score are not called dropped.
    assert (boxes.removed_by[boxes.fate == Fate.NMS] >= 0).all()
    assert (boxes.fate == Fate.NMS).any()
    expected = predictions_of(model)
    assert_close(boxes.boxes[boxes.detections], expected.bboxes, rtol=0, atol=0)


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
    assert first.truth.losses.total == second.truth.losses.total
    sample = sample_of()
    explain(model, sample)
    assert sample.data_sample.keys() == ['gt_instances']
    assert not {'losses', 'candidates', 'forward'} & set(vars(model.bbox_head))


def test_without_annotations_there_are_predictions_only() -> None:
    found = explain(Detector(), sample_of(None))
    assert found.truth is None
    assert len(found.candidates.point) > 0
    assert [level.shape for level in found.maps.levels(found.maps.quality)] == [
        (6, 8),
        (3, 4),
    ]


def test_an_image_without_objects() -> None:
    _, _, truth = explained(BOXES[:0])
    assert not truth.assignment.gt_inds.any()
    assert truth.quality_target.isnan().all()
    assert truth.losses.terms['loss_cls'].shape == (2,)


def test_another_assigner_is_refused() -> None:
    model = Detector()
    model.bbox_head.assigner = SimpleNamespace()
    with pytest.raises(UserError, match='SimpleNamespace: what is explained'):
        explain(model, sample_of())


class Halved(FCOSHead):
    """A head that halves a loss of its base."""

    def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        losses = super().loss_by_feat(*args, **kwargs)
        return losses | {'loss_bbox': losses['loss_bbox'] / 2}


class Focused(FCOSHead):
    """A head whose coarse level learns class 1 everywhere, with mmdet's signature."""

    def get_targets(self, points: list[Tensor], batch_gt_instances: list) -> tuple:
        labels, targets = super().get_targets(points, batch_gt_instances)
        everywhere = torch.ones_like(labels[1])
        return [labels[0], everywhere], [targets[0], torch.full_like(targets[1], 8.0)]


class OwnWay(FCOSHead):
    """A head that shares nothing with its base but the network."""

    def loss_by_feat(
        self, cls_scores: list[Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        return {'loss_mine': cls_scores[0].square().mean()}

    def _predict_by_feat_single(self, *args: Any, **kwargs: Any) -> InstanceData:
        box, score = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.7])
        return InstanceData(bboxes=box, scores=score, labels=torch.tensor([2]))


def full(model: Detector) -> tuple[FCOSExplanation, Truth, float]:
    """What is explained, and the sum of the model's own losses."""
    found = explain(model, sample_of())
    assert found.truth is not None
    return found, found.truth, float(sum(loss_of(model).values()))


def explained_sum(truth: Truth) -> float:
    terms = sum(float(one.sum()) for one in truth.losses.terms.values())
    return terms + sum(truth.losses.rest.values())


@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_what_a_subclass_adds_is_named_and_the_sum_is_the_models(
    norm_on_bbox: bool,
) -> None:
    options = {'smooth_weight': 1.0, 'voting': 0.6, 'norm_on_bbox': norm_on_bbox}
    model = Detector(SmoothFCOSHead, **options)
    found, truth, total = full(model)
    name = 'loss_smooth, added by SmoothFCOSHead'
    assert truth.losses.rest == {name: float(loss_of(model)['loss_smooth'])}
    assert truth.losses.rest[name] > 0.01
    assert truth.losses.total == total
    assert explained_sum(truth) == pytest.approx(total, rel=1e-5)
    expected = predictions_of(model)
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found.predictions[key], expected[key], rtol=0, atol=0)
    boxes = found.candidates
    assert boxes is not None
    # Voting moves boxes after the suppression; who was chosen stays as it is.
    assert_close(boxes.score[boxes.detections], expected.scores, rtol=0, atol=0)
    assert (boxes.boxes[boxes.detections] - expected.bboxes).abs().max() > 0.1
    assert 'loss_by_feat' in found.redefined
    assert '_bbox_post_process' in found.redefined


def test_a_loss_that_a_subclass_changes_is_named() -> None:
    model = Detector(Halved)
    _, truth, total = full(model)
    by_objects = float(truth.losses.terms['loss_bbox'].sum())
    (name,) = truth.losses.rest
    assert name == 'loss_bbox, changed by Halved'
    assert truth.losses.rest[name] == pytest.approx(-by_objects / 2, rel=1e-5)
    assert truth.losses.total == total
    assert explained_sum(truth) == pytest.approx(total, rel=1e-5)


def test_a_loss_that_a_detector_adds_is_named() -> None:
    class Extra(Detector):
        def loss(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return super().loss(*args, **kwargs) | {'loss_extra': torch.tensor(2.0)}

    _, truth, total = full(Extra())
    assert truth.losses.rest == {'loss_extra, added by Extra': 2.0}
    assert truth.losses.total == total


def test_targets_that_a_subclass_changes_are_those_of_the_page() -> None:
    model = Detector(Focused)
    plain = explained()[2].owners
    _, truth, total = full(model)
    assert_close(truth.owners[:48], plain[:48], rtol=0, atol=0)
    # Where the assigner gives box 3, of class 1, nothing changes in the class.
    coarse = plain[48:]
    assert (coarse != 3).any()
    expected = torch.where(coarse == 3, 3, 4)
    assert_close(truth.owners[48:], expected, rtol=0, atol=0)
    assert (truth.ltrb[48:] == 8).all()
    assert_close(truth.assignment.gt_inds, plain, rtol=0, atol=0)
    assert truth.losses.terms['loss_bbox'][4] > 0
    assert truth.losses.rest == {}
    assert truth.losses.total == total
    assert explained_sum(truth) == pytest.approx(total, rel=1e-5)


def test_a_loss_and_a_prediction_of_its_own_are_not_taken_apart() -> None:
    found, truth, total = full(Detector(OwnWay))
    assert truth.losses.terms == {}
    assert truth.losses.rest == {'loss_mine, added by OwnWay': total}
    assert truth.losses.total == total
    assert truth.quality_target.isnan().all()
    assert found.candidates is None
    assert found.predictions.bboxes.tolist() == [[1, 2, 3, 4]]
    assert '_predict_by_feat_single' in found.redefined
