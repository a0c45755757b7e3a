"""Products of the pixels of a map with the pixels of their neighbourhoods.

No neighbourhood is ever copied: the three products go through the taps of a
window one by one, each a shifted view of the whole map. The gradients of each product
are the two others, so that training needs no copies either.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function

Pair = tuple[int, int]


class Window(NamedTuple):
    """Which pixels an output sees, as in a convolution; all (vertical, horizontal).

    Attributes:
        kernel: Taps along a side.
        stride: Between neighbouring outputs.
        dilation: Between neighbouring taps.

    Example:
        >>> import torch
        >>> from paperzoo.attention import Window
        >>> window = Window(kernel=(1, 3), stride=(1, 2))
        >>> torch.stack([*window.views(torch.arange(5)[None], (1, 2))], dim=-1)
        tensor([[[0, 1, 2],
                 [2, 3, 4]]])
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def views(self, maps: Tensor, outputs: Pair) -> Iterator[Tensor]:
        """Yield, tap by tap, row by row, what each of so many outputs sees there."""
        down = self.stride[0] * (outputs[0] - 1) + 1
        along = self.stride[1] * (outputs[1] - 1) + 1
        for i in range(self.kernel[0]):
            top = i * self.dilation[0]
            rows = maps[..., top : top + down : self.stride[0], :]
            for j in range(self.kernel[1]):
                left = j * self.dilation[1]
                yield rows[..., left : left + along : self.stride[1]]


class _Scores(Function):
    """scores[t] = sum over channels of query * view[t]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, maps: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(query, maps)
        ctx.window = window
        outputs = (query.size(-2), query.size(-1))
        taps = window.kernel[0] * window.kernel[1]
        shape = (*query.shape[:2], taps, *outputs)
        # Where maps are in half precision, products may be too large for it.
        query = query.to(torch.promote_types(query.dtype, torch.float32))
        scores = query.new_empty(shape)
        for tap, view in enumerate(window.views(maps, outputs)):
            scores[:, :, tap] = (query * view).sum(2)
        return scores

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, maps = ctx.saved_tensors
        size = (maps.size(-2), maps.size(-1))
        return (
            _Sums.apply(grad, maps, ctx.window),
            _Spread.apply(grad, query, ctx.window, size),
            None,
        )


class _Sums(Function):
    """sums = sum over taps of scores[t] * view[t]."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, maps: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(scores, maps)
        ctx.window = window
        outputs = (scores.size(-2), scores.size(-1))
        sums = maps.new_zeros((*maps.shape[:3], *outputs), dtype=scores.dtype)
        for tap, view in enumerate(window.views(maps, outputs)):
            sums.addcmul_(scores[:, :, tap, None], view)
        return sums.to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scores, maps = ctx.saved_tensors
        size = (maps.size(-2), maps.size(-1))
        return (
            _Scores.apply(grad, maps, ctx.window),
            _Spread.apply(scores, grad, ctx.window, size),
            None,
        )


class _Spread(Function):
    """view[t] of the result += scores[t] * query, for each tap."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, query: Tensor, window: Window, size: Pair
    ) -> Tensor:
        ctx.save_for_backward(scores, query)
        ctx.window = window
        outputs = (scores.size(-2), scores.size(-1))
        maps = query.new_zeros((*query.shape[:3], *size), dtype=scores.dtype)
        for tap, view in enumerate(window.views(maps, outputs)):
            view.addcmul_(scores[:, :, tap, None], query)
        return maps.to(query.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scores, query = ctx.saved_tensors
        return (
            _Scores.apply(query, grad, ctx.window),
            _Sums.apply(scores, grad, ctx.window),
            None,
            None,
        )


def neighbour_scores(
    query: Float[Tensor, 'batch heads channels height width'],
    keys: Float[Tensor, 'batch heads channels keys_height keys_width'],
    window: Window,
) -> Float[Tensor, 'batch heads taps height width']:
    """Return how each query scores the keys of its window, q^T k.

    Args:
        query: One for each output.
        keys: With a border as wide as the windows need.
        window: The window's taps come row by row.

    Example:
        >>> import torch
        >>> from paperzoo.attention import Window, neighbour_scores
        >>> query, keys = torch.rand(1, 2, 4, 5, 6), torch.rand(1, 2, 4, 7, 8)
        >>> neighbour_scores(query, keys, Window((3, 3))).shape  # 9 taps
        torch.Size([1, 2, 9, 5, 6])

    Paper: local-attention "Self-Attention"
    """
    return _Scores.apply(query, keys, window)


def neighbour_sums(
    weights: Float[Tensor, 'batch heads taps height width'],
    values: Float[Tensor, 'batch heads channels values_height values_width'],
    window: Window,
) -> Float[Tensor, 'batch heads channels height width']:
    """Return the weighted sum of the values of each window.

    Args:
        weights: One for each output and tap.
        values: With a border as wide as the windows need.
        window: The window's taps come row by row.

    Example:
        >>> import torch
        >>> from paperzoo.attention import Window, neighbour_sums
        >>> values = torch.tensor([1.0, 2, 4, 8]).view(1, 1, 1, 1, 4)
        >>> neighbour_sums(torch.ones(1, 1, 3, 1, 2), values, Window((1, 3))).flatten()
        tensor([ 7., 14.])

    Paper: local-attention "Self-Attention"
    """
    return _Sums.apply(weights, values, window)


def neighbour_spread(
    weights: Float[Tensor, 'batch heads taps height width'],
    queries: Float[Tensor, 'batch heads channels height width'],
    window: Window,
    size: Pair,
) -> Float[Tensor, 'batch heads channels {size[0]} {size[1]}']:
    """Return a map to which each query adds itself, weighted, all over its window.

    Args:
        weights: One for each output and tap.
        queries: One for each output.
        window: The window's taps come row by row.
        size: Height and width of the map, with a border as wide as the windows need.

    Example:
        >>> import torch
        >>> from paperzoo.attention import Window, neighbour_spread
        >>> weights = torch.tensor([0.1, 0.7, 0.2]).view(1, 1, 3, 1, 1)
        >>> query = torch.ones(1, 1, 1, 1, 1)
        >>> neighbour_spread(weights, query, Window((1, 3)), (1, 3)).flatten()
        tensor([0.1000, 0.7000, 0.2000])
    """
    return _Spread.apply(weights, queries, window, size)


def taps_inside(
    size: Pair, padding: Pair, outputs: Pair, window: Window, device: torch.device
) -> Bool[Tensor, 'down along height width']:
    """Return which taps of each output's window are in the image.

    Args:
        size: Height and width of the image.
        padding: Border around it that windows reach into.
        outputs: Rows and columns of outputs.
        window: What an output sees.
        device: Of the result.

    Example:
        >>> import torch
        >>> from paperzoo.attention.windows import Window, taps_inside
        >>> window = Window((1, 3))
        >>> taps_inside((1, 2), (0, 1), (1, 2), window, torch.device('cpu')).flatten(2)
        tensor([[[False,  True],
                 [ True,  True],
                 [ True, False]]])
    """
    inside = []
    for axis in range(2):
        taps = torch.arange(window.kernel[axis], device=device) * window.dilation[axis]
        first = torch.arange(outputs[axis], device=device) * window.stride[axis]
        places = taps[:, None] + first - padding[axis]
        inside.append((places >= 0) & (places < size[axis]))
    rows, columns = inside
    return rows[:, None, :, None] & columns[None, :, None, :]
