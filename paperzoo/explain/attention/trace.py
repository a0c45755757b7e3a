"""Whom attention attends to, as arrays.

Nothing is kept unless somebody looks: the layers' own methods are recorded while the
model runs. A fused kernel never has weights: those of Eq. 1 are then computed from the
queries and keys that it was given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paperzoo.attention.functional import attention_weights
from paperzoo.attention.local import LocalSelfAttention2d
from paperzoo.attention.modules import MultiHeadSelfAttention
from paperzoo.attention.windows import neighbour_spread
from paperzoo.errors import UserError
from paperzoo.explain.recording import Call, record, redefined

# What decides in a layer whom its queries attend to.
_METHODS: dict[type, str] = {
    LocalSelfAttention2d: 'window_weights',
    MultiHeadSelfAttention: 'attend',
}


@dataclass(frozen=True)
class GlobalView:
    """What an attention of all tokens to all did in one call.

    Attributes:
        layer: The layer's name in the model.
        call: How often it had been called before: a pyramid's level, for instance.
        weights: (B, heads, queries, keys); each row sums to 1, or 0 if it saw nothing.
        note: What a subclass of the layer redefines, as a sentence.
    """

    layer: str
    call: int
    weights: Tensor
    note: str = ''

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
        note: What a subclass of the layer redefines, as a sentence.
    """

    layer: str
    call: int
    weights: Tensor
    x: Tensor
    module: LocalSelfAttention2d
    note: str = ''

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
        UserError: If no attention of the model was called.

    Example:
        >>> import torch
        >>> from paperzoo.attention import TransformerEncoder
        >>> model = TransformerEncoder(2, 8, 2, 16)
        >>> views = attention_views(model, lambda: model(torch.rand(1, 5, 8)))
        >>> [(view.layer, tuple(view.weights.shape)) for view in views]
        [('layers.0.self_attn', (1, 2, 5, 5)), ('layers.1.self_attn', (1, 2, 5, 5))]
    """
    layers: dict[str, tuple[str, Any]] = {}
    for name, module in model.named_modules():
        for kind, method in _METHODS.items():
            if isinstance(module, kind):
                layers[f'{name}.{method}'.removeprefix('.')] = name, module
    with torch.no_grad(), record(model, *layers) as calls:
        run()
    with torch.no_grad():
        views = {
            call.number: _view(*layers[method], place, call)
            for method, own in calls.items()
            for place, call in enumerate(own)
        }
    if not views:
        raise UserError(
            f'{type(model).__name__} ran without any attention: it needs a layer '
            'LocalSelfAttention2d or MultiHeadSelfAttention of paperzoo'
        )
    return [views[number] for number in sorted(views)]


def _view(layer: str, module: Any, place: int, call: Call) -> GlobalView | LocalView:
    note = redefined(module)
    if isinstance(module, LocalSelfAttention2d):
        x = call.args[0]
        weights = module.inside_only(call.result, x)
        return LocalView(layer, place, weights, x, module, note)
    query, key, _, may_see = call.args
    return GlobalView(layer, place, attention_weights(query, key, may_see), note)
