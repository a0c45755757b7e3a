"""mmcv's `batched_nms`, with its options, on our suppression."""

from importlib import import_module

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references.mmcv_ops import greedy_nms
from torch import Tensor

from paperzoo.compat import mmcv_ext

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

# Whole numbers stay exact where the boxes of a class are moved aside.
corner = st.integers(0, 6)
rows_of_boxes = st.lists(
    st.tuples(corner, corner, corner, corner, st.integers(0, 8), st.integers(0, 3)),
    min_size=1,
    max_size=30,
)


def by_class(
    boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float
) -> list[int]:
    """Return what is kept if only boxes of the same class suppress each other."""
    kept = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        kept += members[greedy_nms(boxes[members], scores[members], threshold, 0)]
    return [int(index) for index in kept]


@given(
    rows_of_boxes,
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.booleans(),
    st.sampled_from([1, 10, 10000]),
    st.sampled_from([-1, 2]),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(rows, threshold, class_agnostic, split_thr, max_num):
    table = torch.tensor(rows)
    boxes = table[:, :4].float()
    boxes[:, 2:] += boxes[:, :2]
    scores, labels = table[:, 4] / 8, table[:, 5]
    if class_agnostic and len(rows) >= split_thr:
        class_agnostic = False  # mmcv splits by class whatever is asked for
    cfg = {'iou_threshold': threshold, 'split_thr': split_thr, 'max_num': max_num}
    dets, kept = mmcv_ops.batched_nms(boxes, scores, labels, cfg, class_agnostic)
    if class_agnostic:
        wanted = greedy_nms(boxes, scores, threshold, 0).tolist()
    else:
        wanted = by_class(boxes, scores, labels, threshold)
    best = scores[wanted].sort(descending=True)[0]
    if max_num > 0:
        best = best[:max_num]
        assert set(kept.tolist()) <= set(wanted)
        assert len(kept) == len(best)
    else:
        assert sorted(kept.tolist()) == sorted(wanted)
    torch.testing.assert_close(dets[:, 4], best)
    torch.testing.assert_close(dets, torch.cat((boxes, scores[:, None]), 1)[kept])
