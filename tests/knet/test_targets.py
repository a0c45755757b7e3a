"""What kernels learn, by hand and by law."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch.testing import assert_close

from paperzoo.knet import targets as room
from paperzoo.knet.targets import NOBODY, GroundTruth, kernel_targets

typecheck = jaxtyped(typechecker=beartype)
topmost = typecheck(room.topmost)
paint_classes = typecheck(room.paint_classes)

MASKS = st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=6, max_size=6))


@settings(max_examples=50, deadline=None)
@given(MASKS)
def test_topmost_equals_painting_one_after_the_other(masks: list[list[float]]) -> None:
    canvas = [NOBODY] * 6
    for number, mask in enumerate(masks):
        canvas = [
            number if value else old for value, old in zip(mask, canvas, strict=True)
        ]
    found = topmost(torch.tensor(masks).view(len(masks), 2, 3))
    assert found.flatten().tolist() == canvas


def truth() -> GroundTruth:
    """Two objects of classes 1 and 0; of three stuff classes the middle one."""
    masks = torch.tensor([[[1.0, 0.5]], [[0.0, 1.0]]])
    stuff = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]]])
    present = torch.tensor([False, True, False])
    return GroundTruth(masks, torch.tensor([1, 0]), stuff, present)


@pytest.mark.paper('knet "Training Instance Kernels"')
def test_targets_by_hand() -> None:
    inds = [torch.tensor([2, 0, 1]), torch.tensor([0, 0, 2])]
    found = kernel_targets(inds, [truth()] * 2, 2, 3, with_stuff=True, pos_weight=3.0)
    # Thing kernels, then stuff kernels; 5 is "no object".
    labels = torch.tensor([[0, 5, 1, 5, 3, 5], [5, 5, 0, 5, 3, 5]])
    assert_close(found.labels, labels)
    assert_close(found.positive, labels < 5)
    masks, nothing = truth().masks, torch.zeros(1, 2)
    expected = [masks[1], nothing, masks[0], *truth().stuff_masks]
    assert_close(found.masks[0], torch.stack(expected))
    weights = torch.tensor(
        [
            [3.0, 3.0, 0.0, 0.0, 0.0],  # has an object: pos_weight, on thing classes
            [1.0, 1.0, 0.0, 0.0, 0.0],
            [3.0, 3.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],  # absent: a pure negative of its own class
            [0.0, 0.0, 0.0, 3.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    assert_close(found.label_weights[0], weights)


def test_winners_and_classes_of_pixels_are_made_for_the_losses_that_ask() -> None:
    inds = [torch.tensor([2, 0, 1])]
    found = kernel_targets(inds, [truth()], 2, 3, with_stuff=False)
    assert found.winners is None
    assert found.pixel_classes is None
    options = {'with_stuff': False, 'rank': True, 'paint': True}
    found = kernel_targets(inds, [truth()], 2, 3, **options)
    # Both objects touch the right pixel; kernel 2, with the first object, is later.
    assert_close(found.winners, torch.tensor([[[2, 2]]]))
    assert_close(found.pixel_classes, torch.tensor([[[1, 1]]]))


def test_without_stuff_kernels_only_things_are_targets() -> None:
    found = kernel_targets([torch.tensor([1, 0])], [truth()], 2, 3, with_stuff=False)
    assert_close(found.labels, torch.tensor([[1, 5]]))
    ours = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert_close(found.label_weights, ours.expand(1, 2, 5))


def test_an_image_without_objects() -> None:
    empty = truth()._replace(
        masks=torch.zeros(0, 1, 2), labels=torch.zeros(0, dtype=torch.long)
    )
    inds = torch.zeros(4, dtype=torch.long)
    found = kernel_targets([inds], [empty], 2, 3, with_stuff=False)
    assert_close(found.labels, torch.full((1, 4), 5))
    assert_close(found.masks, torch.zeros(1, 4, 1, 2))
    assert not found.positive.any()


def test_things_are_painted_over_stuff_in_kernel_order() -> None:
    masks = torch.tensor([[[0.5, 0.0, 0.0]], [[1.0, 0.25, 0.0]], [[0.0, 0.0, 0.0]]])
    stuff = torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]])
    labels = torch.tensor([1, 0, 4])
    found = paint_classes(labels, masks, stuff, 2, 4)
    assert_close(found, torch.tensor([[0, 0, 2]]))
    # Nothing anywhere: the number of classes.
    found = paint_classes(labels, 0 * masks, 0 * stuff, 2, 4)
    assert_close(found, torch.full((1, 3), 4))
