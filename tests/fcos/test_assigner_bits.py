"""Sets as the bits of numbers."""

import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch.testing import assert_close

from paperzoo.fcos import assigner as bits

pack_bits, unpack_bits, first_bit = (
    jaxtyped(typechecker=beartype)(function)
    for function in (bits.pack_bits, bits.unpack_bits, bits.first_bit)
)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 130), max_size=4), min_size=1, max_size=5))
def test_the_bits_are_the_set(rows: list[list[int]]) -> None:
    mask = torch.zeros(3, 63, len(rows), dtype=torch.bool)  # (words, bits, at)
    for column, numbers in enumerate(rows):
        for number in numbers:
            mask[number // 63, number % 63, column] = True
    words = pack_bits(mask)
    assert_close(unpack_bits(words).transpose(0, 1), mask, rtol=0, atol=0)
    expected = [min(numbers, default=999) for numbers in rows]
    assert first_bit(words, 999).tolist() == expected
