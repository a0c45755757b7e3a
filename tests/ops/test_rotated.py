"""Rotated boxes: overlaps, suppression and pooling."""

import math
from importlib import import_module

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import mmcv_more_ops as reference
from torch.autograd import gradcheck

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops.roi_align_rotated import roi_align_rotated
from paperzoo.ops.rotated_boxes import keep_rotated, rotated_overlaps

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

number = st.integers(-20, 20).map(lambda n: n / 4)
side = st.integers(0, 20).map(lambda n: n / 4)
angle = st.one_of(
    st.floats(-7, 7), st.sampled_from([0.0, math.pi / 2, math.pi / 4, -math.pi])
)
box = st.tuples(number, number, side, side, angle)


@given(st.lists(box, max_size=4), st.lists(box, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_overlaps_equal_the_definition(first, second, of_first):
    one, other = (
        torch.tensor(x, dtype=torch.double).view(-1, 5) for x in (first, second)
    )
    mode = 'iof' if of_first else 'iou'
    table = mmcv_ops.box_iou_rotated(one, other, mode)
    rows = [[reference.rotated_overlap(a, b, of_first) for b in second] for a in first]
    wanted = torch.tensor(rows, dtype=torch.double).view(len(first), len(second))
    torch.testing.assert_close(table, wanted, rtol=1e-6, atol=1e-7)
    pairs = min(len(first), len(second))
    own = mmcv_ops.box_iou_rotated(one[:pairs], other[:pairs], mode, aligned=True)
    torch.testing.assert_close(own, wanted.diagonal(), rtol=1e-6, atol=1e-7)


@given(box)
def test_a_box_overlaps_itself_whole_in_float32(one):
    assume(min(one[2:4]) > 0)
    box = torch.tensor([one, one])
    box[1, 4] += math.pi  # the same rectangle
    torch.testing.assert_close(
        rotated_overlaps(box[:1], box[1:]), torch.ones(1), rtol=1e-5, atol=1e-5
    )


def test_counterclockwise_turns_the_other_way():
    one = torch.tensor([[0.0, 0, 4, 1, 0.7]])
    other = torch.tensor([[1.0, 1, 4, 1, 0.7]])
    mirrored = other * torch.tensor([1, 1, 1, 1, -1])
    found = mmcv_ops.box_iou_rotated(one, mirrored, clockwise=False)
    wanted = mmcv_ops.box_iou_rotated(one * torch.tensor([1, 1, 1, 1, -1]), other)
    torch.testing.assert_close(found, wanted)
    assert 0 < found.item() < 1


@given(st.lists(box, max_size=7), st.sampled_from([0.05, 0.3, 0.9]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_suppression_equals_the_definition(boxes, threshold, several):
    table = torch.tensor(boxes, dtype=torch.double).view(-1, 5)
    scores = torch.linspace(1, 0, len(boxes) + 1)[:-1].roll(len(boxes) // 2).double()
    labels = torch.arange(len(boxes)) % 2 if several else None
    left, kept = scores.argsort(descending=True).tolist(), []
    while left:
        best, *left = left
        kept.append(best)
        overlaps = {
            i: reference.rotated_overlap(boxes[best], boxes[i], False) for i in left
        }
        # Neither side need agree on which side of the threshold rounding falls.
        assume(all(abs(iou - threshold) > 1e-6 for iou in overlaps.values()))
        left = [
            i for i in left if overlaps[i] < threshold or (several and (i - best) % 2)
        ]
    if not boxes:
        return
    dets, found = mmcv_ops.nms_rotated(table, scores, threshold, labels)
    assert found.tolist() == kept
    torch.testing.assert_close(dets, torch.cat((table, scores[:, None]), 1)[kept])


def test_suppression_of_no_box():
    none = torch.zeros(0, 5)
    assert keep_rotated(none, torch.zeros(0).long(), 0.5).tolist() == []
    assert mmcv_ops.box_iou_rotated(none, torch.ones(2, 5)).shape == (0, 2)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_overlaps_of_half_precision(dtype):
    boxes = torch.tensor([[0.0, 0, 4, 2, 0.5], [1, 0, 4, 2, 0.25]]).to(dtype)
    found = mmcv_ops.box_iou_rotated(boxes, boxes)
    wanted = mmcv_ops.box_iou_rotated(boxes.float(), boxes.float())
    torch.testing.assert_close(found, wanted.to(dtype))


roi = st.tuples(st.integers(0, 1), number, number, side, side, angle)


@given(
    st.lists(roi, max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([-1, 0, 1, 2]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_pooling_equals_the_definition(
    table, bins, scale, sampling, aligned, clockwise, seed
):
    torch.manual_seed(seed)
    image = torch.randn(2, 3, 5, 6).double().requires_grad_()
    options = scale, sampling, aligned, clockwise
    # The border of what counts is a step: rounding must not fall on another side.
    turned = [(*one[:5], one[5] + 0.0123) for one in table]
    wanted = reference.roi_align_rotated(image, turned, bins, *options)
    rois = torch.tensor(turned, dtype=torch.double).view(-1, 6)
    found = mmcv_ops.roi_align_rotated(image, rois, bins, *options)
    torch.testing.assert_close(found, wanted)
    if wanted.requires_grad:
        grad = torch.sin(torch.arange(wanted.numel()).double()).view_as(wanted)
        (expected,) = torch.autograd.grad(wanted, image, grad)
        (gradient,) = torch.autograd.grad(found, image, grad)
        torch.testing.assert_close(gradient, expected)


def test_pooling_gradient():
    rois = torch.tensor([[0, 2.6, 2.3, 4, 3, 0.4]]).double()
    image = torch.randn(1, 2, 5, 5).double().requires_grad_()
    for op in (roi_align_rotated, mmcv_ops.roi_align_rotated):
        assert gradcheck(lambda image, op=op: op(image, rois, (2, 2), 1.0, 0), image)


def test_an_upright_roi_is_that_of_roi_align():
    image = torch.randn(1, 2, 8, 8).double()
    rois = torch.tensor([[0.0, 4, 3, 5, 4, 0]]).double()
    found = mmcv_ops.roi_align_rotated(image, rois, (2, 3), 1.0, 2)
    upright = torch.tensor([[0.0, 1.5, 1, 6.5, 5]]).double()
    wanted = mmcv_ops.roi_align(image, upright, (2, 3), 1.0, 2, 'avg', True)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_pooling_in_half_precision_is_computed_in_float32(dtype):
    image = torch.randn(1, 2, 5, 5).to(dtype)
    rois = torch.tensor([[0, 2.5, 2.25, 4, 3, 0.5]]).to(dtype)
    found = mmcv_ops.roi_align_rotated(image, rois, (2, 2), 1.0, 2)
    wanted = mmcv_ops.roi_align_rotated(image.float(), rois.float(), (2, 2), 1.0, 2)
    torch.testing.assert_close(found, wanted.to(dtype))


def test_wrong_rois_are_named():
    image = torch.ones(1, 1, 4, 4)
    with pytest.raises(UserError, match=r'roi_align_rotated: rois\[0\].*negative'):
        roi_align_rotated(image, torch.tensor([[0.0, 2, 2, -1, 2, 0]]), (1, 1), 1.0)
    with pytest.raises(UserError, match=r'roi_align_rotated: rois\[0\].*below 1'):
        roi_align_rotated(image, torch.tensor([[1.0, 2, 2, 1, 2, 0]]), (1, 1), 1.0)
