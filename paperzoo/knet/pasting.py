"""Masks at the size of the image: all of each, or only where there is something."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from paperzoo.utils.precision import at_least_float32

# Pixels of all masks that are enlarged at once: 256 MiB in single precision.
BLOCK_PIXELS = 1 << 26

Size = tuple[int, int]


class Sizes(NamedTuple):
    """The sizes an image had on its way.

    Attributes:
        padded: Height and width of the batch.
        image: Height and width of the image in it.
        result: Height and width that results should have.
    """

    padded: Size
    image: Size
    result: Size


def enlarged_blocks(
    mask_logits: Float[Tensor, 'masks height width'],
    sizes: Sizes,
    block_pixels: int = BLOCK_PIXELS,
) -> Iterator[tuple[int, Tensor]]:
    """Yield probabilities of a few masks at a time, at the size of the result.

    Args:
        mask_logits: The masks at any size.
        sizes: Those of the image.
        block_pixels: How many pixels a block may have; a block has at least one mask.

    Yields:
        Number of the block's first mask, and the block, (masks, height, width).

    Example:
        >>> sizes = Sizes(padded=(8, 8), image=(8, 6), result=(16, 12))
        >>> start, prob = next(enlarged_blocks(torch.ones(3, 2, 2), sizes))
        >>> start, prob.shape
        (0, torch.Size([3, 16, 12]))
    """
    largest = max(height * width for height, width in sizes)
    step = max(1, block_pixels // largest)
    for start in range(0, len(mask_logits), step):
        prob = at_least_float32(mask_logits[None, start : start + step]).sigmoid()
        prob = F.interpolate(prob, sizes.padded, mode='bilinear')
        prob = prob[..., : sizes.image[0], : sizes.image[1]]
        if sizes.result != sizes.image:
            prob = F.interpolate(prob, sizes.result, mode='bilinear')
        yield start, prob[0]


class Part(NamedTuple):
    """A part of a larger mask, outside of which the mask is empty.

    Attributes:
        rows: Where it lies.
        columns: Where it lies.
        mask: What is there, (height, width).
    """

    rows: slice
    columns: slice
    mask: Tensor

    def box(self) -> tuple[int, int, int, int]:
        """Return x0, y0, x1, y1 around the mask; zeros around an empty one."""
        if not self.mask.any():
            return 0, 0, 0, 0
        top, bottom = self.mask.any(1).nonzero()[[0, -1], 0].tolist()
        left, right = self.mask.any(0).nonzero()[[0, -1], 0].tolist()
        x, y = self.columns.start, self.rows.start
        return x + left, y + top, x + right + 1, y + bottom + 1


def pasted(
    mask_logits: Float[Tensor, 'masks height width'], sizes: Sizes, threshold: float
) -> Iterator[Part]:
    """Yield where each mask's probability exceeds a threshold, one after the other.

    What `enlarged_blocks` gives, compared with the threshold, up to the rounding of
    single precision. Interpolated values are means, so nothing exceeds the threshold
    where no pixel around it does: only the rest is enlarged, both resizes as one matrix
    an axis. On a GPU each part would be waited for; there blocks are faster.

    Args:
        mask_logits: The masks at any size.
        sizes: Those of the image.
        threshold: A probability.

    Example:
        >>> import torch
        >>> from paperzoo.knet.pasting import Sizes, pasted
        >>> logits = torch.full((1, 4, 4), -5.0)
        >>> logits[0, 1, 1] = 5.0
        >>> (part,) = pasted(logits, Sizes((8, 8), (8, 8), (8, 8)), threshold=0.5)
        >>> part.box()
        (2, 2, 4, 4)
    """
    prob = at_least_float32(mask_logits).sigmoid()
    vertical, horizontal = (
        _Axis(size, *(pair[axis] for pair in sizes), like=prob)
        for axis, size in enumerate(prob.shape[1:])
    )
    above = prob > threshold
    for one, rows, columns in zip(prob, above.any(2), above.any(1), strict=True):
        into_rows, from_rows = vertical.spans(rows)
        into_columns, from_columns = horizontal.spans(columns)
        part = (
            vertical.matrix[into_rows, from_rows]
            @ one[from_rows, from_columns]
            @ horizontal.matrix[into_columns, from_columns].T
        )
        yield Part(into_rows, into_columns, part > threshold)


class _Axis:
    """How `enlarged_blocks` resizes along one axis, as a matrix.

    Args:
        size: Of the masks.
        padded: Of the batch.
        image: Of the image in it.
        result: Of the result.
        like: Whose type the matrix has.
    """

    def __init__(
        self, size: int, padded: int, image: int, result: int, *, like: Tensor
    ) -> None:
        unit = torch.eye(size, dtype=torch.float64)[None]
        matrix = F.interpolate(unit, padded, mode='linear')[..., :image]
        if result != image:
            matrix = F.interpolate(matrix, result, mode='linear')
        self.matrix = matrix[0].T.to(like.dtype)  # (result, size)
        self._into = _bounds(self.matrix.T != 0)
        self._out_of = _bounds(self.matrix != 0)

    def spans(self, used: Bool[Tensor, ' size']) -> tuple[slice, slice]:
        """Return what results may see of the used pixels, and all that these see."""
        pixels = used.nonzero()[:, 0]
        into = _hull(self._into, pixels)
        return into, _hull(self._out_of, torch.arange(into.start, into.stop))


def _bounds(touches: Bool[Tensor, 'rows columns']) -> Tensor:
    """Return the first touched column of each row, and the one after the last."""
    columns = torch.arange(touches.size(1))
    first = torch.where(touches, columns, touches.size(1)).amin(1)
    return torch.stack([first, torch.where(touches, columns + 1, 0).amax(1)])


def _hull(bounds: Tensor, rows: Tensor) -> slice:
    """Return the smallest slice that has those of all rows."""
    if not len(rows):
        return slice(0, 0)
    first, last = int(bounds[0, rows].min()), int(bounds[1, rows].max())
    return slice(min(first, last), last)
