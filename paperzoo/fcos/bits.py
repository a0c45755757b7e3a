"""Sets of boxes as the bits of whole numbers, 63 boxes to a number."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

# Boxes per machine word; the sign bit stays free.
WORD = 63


def pack_bits(mask: Bool[Tensor, 'words 63 *at']) -> Int64[Tensor, 'words *at']:
    """Return the mask with the second dimension as the bits of one number."""
    bits = torch.arange(WORD, device=mask.device)
    weights = (1 << bits).view(-1, *[1] * (mask.dim() - 2))
    return torch.where(mask, weights, 0).sum(dim=1)


def unpack_bits(words: Int64[Tensor, '*at']) -> Bool[Tensor, '63 *at']:
    """Return the bits of each number, the lowest first."""
    bits = torch.arange(WORD, device=words.device)
    return (words >> bits.view(-1, *[1] * words.dim()) & 1).bool()


def first_bit(words: Int64[Tensor, 'words *at'], none: int) -> Int64[Tensor, '*at']:
    """Return the number of the lowest bit that is set, the words counting on.

    Args:
        words: Numbers of 63 bits, the lowest word first.
        none: The answer where no bit is set.
    """
    first = torch.full_like(words[0], none)
    for number in reversed(range(len(words))):
        word = words[number]
        # What word & -word leaves is a power of two, 0.5 * 2^(bit + 1): exact.
        exponent = torch.frexp((word & -word).float()).exponent
        first = torch.where(word != 0, WORD * number + exponent - 1, first)
    return first
