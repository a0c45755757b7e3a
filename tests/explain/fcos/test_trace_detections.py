"""Which box the suppression holds against which, beside a loop over the boxes."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import fcos as reference

from paperzoo.explain.fcos.trace_detections import DROPPED, KEPT, removed_by


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            *[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2, st.integers(0, 1)
        ),
        max_size=12,
    ),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_who_removed_whom_equals_the_loop(rows: list, most: int, random: Any) -> None:
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in rows]).float()
    labels = torch.tensor([row[4] for row in rows], dtype=torch.long)
    # No two scores are equal, and no overlap is near the threshold.
    ranks = random.sample(range(len(rows)), len(rows))
    scores = torch.tensor([(rank + 1) / 20 for rank in ranks])
    nms = {'type': 'nms', 'iou_threshold': 0.4999}
    found = removed_by(boxes.view(-1, 4), scores, labels, nms, most)
    assert found.tolist() == removed_by_loop(rows, scores.tolist(), 0.4999, most)


def removed_by_loop(
    rows: list, scores: list[float], threshold: float, most: int
) -> list[int]:
    kept: list[int] = []
    answer = [KEPT] * len(rows)
    for one in sorted(range(len(rows)), key=lambda index: -scores[index]):
        for better in kept:
            corners = [
                (r[0], r[1], r[0] + r[2], r[1] + r[3])
                for r in (rows[better], rows[one])
            ]
            overlap, _ = reference.iou_and_giou(*corners)
            if rows[better][4] == rows[one][4] and overlap > threshold:
                answer[one] = better
                break
        else:
            kept.append(one)
            if len(kept) > most:
                answer[one] = DROPPED
    return answer
