"""From the maps of the head to detections."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import batched_nms
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from references import fcos as reference
from torch import Tensor, nn
from torch.testing import assert_close

import paperzoo.fcos.post_processing as post
from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead

NMS = {'type': 'nms', 'iou_threshold': 0.5}
PROBABILITY = st.integers(0, 8).map(lambda eighths: eighths / 8)  # ties are likely


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(*[PROBABILITY] * 4), min_size=1, max_size=6),
    PROBABILITY,
    st.integers(1, 8),
    st.sampled_from(['product', 'sqrt']),
    st.sampled_from(['cls', 'product']),
    st.sampled_from(['cls', 'product']),
)
def test_candidates_equal_the_loop(
    rows: list[tuple[float, ...]],
    threshold: float,
    most: int,
    score_mode: str,
    rank_by: str,
    threshold_by: str,
) -> None:
    table = torch.tensor(rows)
    options = post.score_options(
        {'score_mode': score_mode, 'rank_by': rank_by, 'threshold_by': threshold_by}
    )
    point, label, score = post.level_candidates(
        table[:, :3], table[:, 3], threshold, most, options
    )
    expected = reference.detections(
        [list(row[:3]) for row in rows],
        [row[3] for row in rows],
        threshold,
        most,
        root=score_mode == 'sqrt',
        rank_by_product=rank_by == 'product',
        threshold_product=threshold_by == 'product',
    )
    assert list(zip(point.tolist(), label.tolist(), strict=True)) == [
        entry[:2] for entry in expected
    ]
    assert_close(score, torch.tensor([entry[2] for entry in expected]))


def test_the_options_are_mmdets_if_nothing_is_said() -> None:
    plain = {'score_mode': 'product', 'rank_by': 'cls', 'threshold_by': 'cls'}
    assert post.score_options(None) == plain
    assert post.score_options({'nms_pre': 3}) == plain
    with pytest.raises(UserError, match="threshold_by='sum': use 'cls' or 'product'"):
        post.score_options({'threshold_by': 'sum'})


def candidates(count: int, spread: float, ties: bool = False) -> InstanceData:
    torch.manual_seed(0)
    start = torch.rand(count, 2) * spread
    boxes = torch.cat((start, start + 4 + torch.rand(count, 2) * 60), dim=1)
    scores = torch.randperm(count) / count
    if ties:
        scores = (scores * 500).round() / 500
    return InstanceData(
        bboxes=boxes, scores=scores, labels=torch.randint(0, 3, (count,))
    )


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('spread', [40.0, 900.0])
@pytest.mark.parametrize('most', [5, 100, 999])
@pytest.mark.parametrize(
    'nms', [NMS, {**NMS, 'offset': 1}, {**NMS, 'class_agnostic': True}]
)
def test_trying_the_best_first_changes_nothing(
    spread: float, most: int, nms: dict[str, Any], ties: bool
) -> None:
    results = candidates(2500, spread, ties)
    rated, kept = batched_nms(results.bboxes, results.scores, results.labels, nms)
    found = post.suppress(results, nms, most)
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found[key], results[kept][key][:most], rtol=0, atol=0)
    assert_close(found.scores, rated[:most, 4], rtol=0, atol=0)


def test_the_best_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def watch(boxes: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        counts.append(len(boxes))
        return batched_nms(boxes, *args)

    monkeypatch.setattr(post, 'batched_nms', watch)
    assert len(post.suppress(candidates(2500, 900.0), NMS, 100)) == 100
    # The best thousand, and perhaps the box that reaches farthest.
    assert len(counts) == 1
    assert counts[0] in (1000, 1001)
    # Where they do not suffice, all are asked.
    counts.clear()
    post.suppress(candidates(2500, 5.0), NMS, 500)
    assert counts[-1] == 2500


def test_boxes_go_back_to_the_image_and_small_ones_out() -> None:
    norm = {'type': nn.GroupNorm, 'num_groups': 4}
    head = FCOSHead(1, 8, feat_channels=8, stacked_convs=0, norm_cfg=norm)
    boxes = torch.tensor([[0.0, 0, 20, 40], [50, 50, 52, 90], [100, 100, 140, 180]])
    results = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([0.5, 0.9, 0.7]),
        labels=torch.zeros(3, dtype=torch.long),
    )
    cfg = ConfigDict(min_bbox_size=2, nms=NMS, max_per_img=10)
    meta = {'scale_factor': (2.0, 4.0)}
    found = head._bbox_post_process(results, cfg, rescale=True, img_meta=meta)
    expected = torch.tensor([[50.0, 25, 70, 45], [0, 0, 10, 10]])
    assert_close(found.bboxes, expected)
    assert_close(found.scores, torch.tensor([0.7, 0.5]))
    raw = head._bbox_post_process(results[:0], cfg, with_nms=True, img_meta=meta)
    assert len(raw) == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            *[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2, st.integers(0, 1)
        ),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_who_gave_way_to_whom_equals_the_loop(
    rows: list, ties: bool, random: Any
) -> None:
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in rows]).float()
    labels = torch.tensor([row[4] for row in rows], dtype=torch.long)
    # No overlap is near the threshold.
    nms = {'type': 'nms', 'iou_threshold': 0.4999}
    ranks = random.sample(range(len(rows)), len(rows))
    scores = torch.tensor([(rank // (3 if ties else 1) + 1) / 20 for rank in ranks])
    kept = batched_nms(boxes.view(-1, 4), scores, labels, nms)[1]
    found = post.suppressed_by(boxes.view(-1, 4), scores, labels, kept, nms)
    assert found.tolist() == gave_way_loop(rows, scores.tolist(), kept.tolist(), 0.4999)


def gave_way_loop(
    rows: list, scores: list[float], kept: list[int], threshold: float
) -> list[int]:
    answer = [-1] * len(rows)
    for one in set(range(len(rows))) - set(kept):
        for better in kept:
            corners = [
                (r[0], r[1], r[0] + r[2], r[1] + r[3])
                for r in (rows[better], rows[one])
            ]
            overlap, _ = reference.iou_and_giou(*corners)
            same = rows[better][4] == rows[one][4]
            if same and overlap > threshold and scores[better] >= scores[one]:
                answer[one] = better
                break
        assert answer[one] >= 0
    return answer
