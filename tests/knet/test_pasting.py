"""Masks enlarged only where there is something, against the whole masks."""

import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch import Tensor
from torch.testing import assert_close

from paperzoo.knet import panoptic, pasting
from paperzoo.knet.panoptic import boxes_around
from paperzoo.knet.pasting import Sizes, enlarged_blocks

pasted = jaxtyped(typechecker=beartype)(pasting.pasted)
SIDE = st.integers(1, 40)
SIZE = st.tuples(SIDE, SIDE)


@st.composite
def sizes(draw: st.DrawFn) -> Sizes:
    padded = draw(SIZE)
    image = tuple(draw(st.integers(1, side)) for side in padded)
    return Sizes(padded, image, draw(st.one_of(SIZE, st.just(image))))


def blobs(number: int, size: tuple[int, int], seed: int) -> Tensor:
    """Masks of which most hold little or nothing."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(number, *size, generator=generator)
    there = torch.rand(number, *size, generator=generator)
    return logits + 4 * (there > 0.93) - 3


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    sizes(),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    st.integers(0, 99),
)
def test_parts_are_what_the_whole_masks_have(
    size: tuple[int, int], to: Sizes, number: int, threshold: float, seed: int
) -> None:
    logits = blobs(number, size, seed).double()
    whole = [block for _, block in enlarged_blocks(logits, to)]
    expected = torch.cat([*whole, logits.new_zeros(0, *to.result)])
    found = torch.zeros(number, *to.result, dtype=torch.bool)
    boxes = torch.zeros(number, 4)
    for index, part in enumerate(pasted(logits, to, threshold)):
        found[index, part.rows, part.columns] = part.mask
        boxes[index] = torch.tensor(part.box())
    # Rounding decides where a probability is the threshold but for the last digits.
    clear = (expected - threshold).abs() > 1e-12
    assert bool((found == (expected > threshold))[clear].all())
    assert_close(boxes, boxes_around(found), rtol=0, atol=0)


def test_a_small_mask_is_not_enlarged_as_a_whole() -> None:
    logits = torch.full((1, 50, 50), -5.0)
    logits[0, 30, 10:12] = 5.0
    (part,) = pasted(logits, Sizes((400, 400), (400, 400), (400, 400)), 0.5)
    assert part.mask.shape == (16, 24)  # a pixel is seen 8 pixels around its centre
    (none,) = pasted(logits - 10, Sizes((400, 400), (400, 400), (400, 400)), 0.5)
    assert none.mask.numel() == 0
    assert none.box() == (0, 0, 0, 0)


def test_other_devices_get_the_same_masks() -> None:
    logits, to = blobs(6, (9, 13), 3), Sizes((40, 56), (37, 50), (80, 99))
    kernels = torch.tensor([4, 0, 4, 2])
    for rle in (False, True):
        ours = panoptic._pasted_masks(logits, kernels, to, 0.5, rle)
        theirs = panoptic._enlarged_masks(logits, kernels, to, 0.5, rle)
        assert_close(ours[1], theirs[1], rtol=0, atol=0)
        if rle:
            assert ours[0] == theirs[0]
        else:
            assert_close(ours[0], theirs[0], rtol=0, atol=0)
