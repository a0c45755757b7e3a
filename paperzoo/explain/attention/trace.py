"""Whom attention attends to, as arrays.

Nothing is recorded unless somebody looks: the weights are computed once more, from what
went into a layer, by hooks that are gone afterwards.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paperzoo.attention.local import LocalSelfAttention2d
from paperzoo.attention.modules import MultiHeadSelfAttention
from paperzoo.attention.windows import neighbour_spread
from paperzoo.utils.errors import UserError


@dataclass(frozen=True)
class GlobalView:
    """What an attention of all tokens to all did in one call.

    Attributes:
        layer: The layer's name in the model.
        call: How often it had been called before: a pyramid's level, for instance.
        weights: (B, heads, queries, keys); each row sums to 1, or 0 if it saw nothing.
    """

    layer: str
    call: int
    weights: Tensor

    def attended(self, image: int, place: int) -> Tensor:
        """Return whom a query attends to, (heads, keys).

        Args:
            image: Which of the batch.
            place: Which query.
        """
        return self.weights[image, :, place]


@dataclass(frozen=True)
class LocalView:
    """What an attention within neighbourhoods did in one call.

    Attributes:
        layer: The layer's name in the model.
        call: How often it had been called before: a pyramid's level, for instance.
        weights: (B, heads, taps, height, width), taps row by row; those of a place sum
            to 1 over its taps.
        x: What was looked at, (B, channels, height, width).
        module: The layer.
    """

    layer: str
    call: int
    weights: Tensor
    x: Tensor
    module: LocalSelfAttention2d

    def attended(self, image: int, place: tuple[int, int]) -> Tensor:
        """Return whom an output attends to, laid on the map: (heads, height, width).

        Args:
            image: Which of the batch.
            place: Row and column of the output.
        """
        row, column = place
        weights = self.weights[image, None]
        chosen = torch.zeros_like(weights)
        chosen[..., row, column] = weights[..., row, column]
        one = torch.ones_like(weights[:, :, :1])
        (down, along), (height, width) = self.module.padding, self.x.shape[-2:]
        padded = (height + 2 * down, width + 2 * along)
        laid = neighbour_spread(chosen, one, self.module.window, padded)[0, :, 0]
        return laid[:, down : down + height, along : along + width]

    def everywhere(self, image: int, place: tuple[int, int]) -> Tensor:
        """Return whom an output would attend to without a window, as `attended`.

        Its query meets the key of every pixel; offsets, of which there are too few,
        say nothing.

        Args:
            image: Which of the batch.
            place: Row and column of the output.
        """
        with torch.no_grad():
            return self.module.whole_map_weights(self.x[image, None], *place)[0]


def attention_views(
    model: nn.Module, run: Callable[[], Any]
) -> list[GlobalView | LocalView]:
    """Return what the attentions of a model do while something runs, call by call.

    Args:
        model: Any, such as a detector.
        run: What to watch: `lambda: model.test_step(data)`, for instance.

    Raises:
        UserError: If there was no attention to be seen.
    """
    views: list[GlobalView | LocalView] = []
    calls: Counter[str] = Counter()

    def look(layer: str, module: Any, args: tuple, kwargs: dict, _: Tensor) -> None:
        weights = module.attention_weights(*args, **kwargs)
        call = calls[layer]
        calls[layer] += 1
        if isinstance(module, LocalSelfAttention2d):
            x = args[0] if args else kwargs['x']
            views.append(LocalView(layer, call, weights, x, module))
        else:
            views.append(GlobalView(layer, call, weights))

    kinds = (LocalSelfAttention2d, MultiHeadSelfAttention)
    hooks = [
        module.register_forward_hook(partial(look, name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    if not views:
        raise UserError(
            f'{type(model).__name__} ran without any attention: it needs a layer '
            'LocalSelfAttention2d or MultiHeadSelfAttention of paperzoo'
        )
    return views
