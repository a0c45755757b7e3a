"""Self-attention among the pixels of a neighbourhood, in place of a convolution."""

from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.attention.positions import relative_scores
from paperzoo.attention.windows import (
    Pair,
    Window,
    neighbour_scores,
    neighbour_sums,
    taps_inside,
)
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

_CONVOLUTION = (
    *('in_channels', 'out_channels', 'kernel_size', 'stride', 'padding'),
    *('dilation', 'groups', 'bias'),
)


@MODELS.register_module()
class LocalSelfAttention2d(BaseModule):
    """Attention of each pixel to its k x k neighbourhood, a drop-in for nn.Conv2d.

    Modules of mmcv and mmdet take it by their `conv_cfg`, with type
    `paperzoo.LocalSelfAttention2d`.

    Weights are a softmax of q^T k + q^T r over the window; r embeds the offset from the
    query in rows and in columns, half of a head's channels each. There is no factor
    1 / sqrt(channels): the query's first weights are as much smaller.

    Building one with a 1x1 kernel gives a plain `nn.Conv2d` of the same arguments, as
    does one with fewer than `min_in_channels`: a pixel alone has no neighbours, and the
    raw pixels that a stem sees say too little for their content to be compared.

    Args:
        in_channels: As in `nn.Conv2d`.
        out_channels: As in `nn.Conv2d`; a multiple of 2 * `num_heads`.
        kernel_size: Of the neighbourhood, odd.
        stride: As in `nn.Conv2d`: windows, and so queries, are so far apart.
        padding: As in `nn.Conv2d`, but pixels outside of the image are left out of the
            softmax; a window with none inside gives zeros (or the bias).
        dilation: As in `nn.Conv2d`.
        groups: As in `nn.Conv2d`, of the maps to queries, keys and values.
        bias: Add a learned bias to the output.
        num_heads: Heads, each with as many of the output's channels.
        min_in_channels: With fewer input channels, stay a convolution: 4 is for the
            stem of a backbone that sees images.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If an argument is unknown, the kernel even, or heads or groups do not
            divide the channels.

    Example:
        >>> import torch
        >>> from paperzoo.attention import LocalSelfAttention2d
        >>> layer = LocalSelfAttention2d(16, 32, kernel_size=3, padding=1, num_heads=4)
        >>> layer(torch.rand(1, 16, 10, 12)).shape
        torch.Size([1, 32, 10, 12])

    Paper: local-attention "Replacing Spatial Convolutions"
    Differs: a head of the paper sees only its own share of the input's channels, which
        is `groups=num_heads` here; the paper halves maps by pooling after an attention
        of stride 1; about the border it says nothing.
    """

    transposed = False
    output_padding = (0, 0)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a convolution where there is nothing to attend to."""
        _check_arguments(cls, args, kwargs)
        given = dict(zip(_CONVOLUTION, args, strict=False)) | kwargs
        alone = given.get('kernel_size') in (1, (1, 1), [1, 1])
        # Copies and unpickled modules are made without arguments.
        if alone or given.get('in_channels', 0) < given.get('min_in_channels', 0):
            own = {name: given[name] for name in _CONVOLUTION if name in given}
            return nn.Conv2d(**own)
        return super().__new__(cls)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        num_heads: int = 8,
        min_in_channels: int = 0,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair('kernel_size', kernel_size)
        self.stride = _pair('stride', stride)
        self.padding = _pair('padding', padding)
        self.dilation = _pair('dilation', dilation)
        self.groups = groups
        self.num_heads = num_heads
        self._check()
        self.window = Window(self.kernel_size, self.stride, self.dilation)
        # Bare parameters: rules for the weights of convolutions, as of RetinaHead or
        # ResNet, would make queries and keys far too small or large for a softmax.
        shape = (out_channels, in_channels // groups, 1, 1)
        self.query = nn.Parameter(torch.empty(shape))
        self.key = nn.Parameter(torch.empty(shape))
        self.value = nn.Parameter(torch.empty(shape))
        half = out_channels // num_heads // 2
        self.rows = nn.Parameter(torch.empty(num_heads, half, self.kernel_size[0]))
        self.columns = nn.Parameter(torch.empty(num_heads, half, self.kernel_size[1]))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def _check(self) -> None:
        if any(side % 2 == 0 for side in self.kernel_size):
            raise UserError(
                f'LocalSelfAttention2d: kernel_size={self.kernel_size}: use odd '
                'numbers, for the window is centred on the query'
            )
        if self.num_heads < 1 or self.out_channels % (2 * self.num_heads):
            raise UserError(
                f'LocalSelfAttention2d: num_heads={self.num_heads} and out_channels='
                f'{self.out_channels}: use a multiple of {2 * max(self.num_heads, 1)} '
                'channels, or other heads: half of the channels of each are for rows, '
                'half for columns'
            )
        for name in ('in_channels', 'out_channels'):
            if self.groups < 1 or getattr(self, name) % self.groups:
                raise UserError(
                    f'LocalSelfAttention2d: groups={self.groups} does not divide '
                    f'{name}={getattr(self, name)}: use a divisor'
                )

    def _check_maps(self, x: Tensor) -> None:
        if x.dim() != 4:
            raise UserError(
                f'LocalSelfAttention2d: a map of shape {tuple(x.shape)}: use (batch, '
                'channels, height, width), x.unsqueeze(0) for a single map'
            )
        for side, pad, step, taps in zip(
            _size(x), self.padding, self.dilation, self.kernel_size, strict=True
        ):
            reach = step * (taps - 1) + 1
            if side + 2 * pad < reach:
                raise UserError(
                    f'LocalSelfAttention2d: a map of {_size(x)} with padding='
                    f'{self.padding} is smaller than a window, {reach} wide: use a '
                    'larger map, more padding or a smaller kernel_size'
                )

    def reset_parameters(self) -> None:
        """Draw new weights such that scores begin with a variance of about 2."""
        fan_in = self.query[0].numel()
        channels = self.out_channels // self.num_heads
        nn.init.normal_(self.query, std=(fan_in * channels) ** -0.5)
        nn.init.normal_(self.key, std=fan_in**-0.5)
        nn.init.normal_(self.value, std=fan_in**-0.5)
        nn.init.normal_(self.rows)
        nn.init.normal_(self.columns)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self, x: Float[Tensor, '*map height width']
    ) -> Float[Tensor, 'batch {self.out_channels} rows columns']:
        """Return a map of the size of a convolution's result.

        Args:
            x: The map, (B, in_channels, H, W).
        """
        weights = self.window_weights(x)
        # Zeros around the image: whatever their weights are, they add nothing.
        values = self._heads(
            F.conv2d(x, self.value, None, 1, self.padding, 1, self.groups)
        )
        out = neighbour_sums(weights, values, self.window).flatten(1, 2)
        return out if self.bias is None else out + self.bias.to(out)[:, None, None]

    def attention_weights(
        self, x: Float[Tensor, '*map height width']
    ) -> Float[Tensor, 'batch {self.num_heads} taps rows columns']:
        """Return the weights of a window's taps, row by row.

        They sum to 1 over the taps, or to 0 where no tap is in the image.

        Args:
            x: The map, (B, in_channels, H, W).
        """
        return self.inside_only(self.window_weights(x), x)

    def inside_only(
        self,
        weights: Float[Tensor, 'batch {self.num_heads} taps rows columns'],
        x: Float[Tensor, 'batch {self.in_channels} height width'],
    ) -> Float[Tensor, 'batch {self.num_heads} taps rows columns']:
        """Return the weights with zeros where a tap is outside of the image.

        Args:
            weights: Of `window_weights`.
            x: The map that they are of.
        """
        inside = self._taps_inside(x, _size(weights)).flatten(0, 1)
        return weights.masked_fill(~inside, 0.0)

    def window_weights(
        self, x: Float[Tensor, '*map height width']
    ) -> Float[Tensor, 'batch {self.num_heads} taps rows columns']:
        """Return the weights that `forward` uses.

        Those of a window without any pixel of the image mean nothing: its values are
        zeros.

        Args:
            x: The map, (B, in_channels, H, W).
        """
        query = self.queries(x)
        keys = F.conv2d(x, self.key, None, 1, self.padding, 1, self.groups)
        scores = neighbour_scores(query, self._heads(keys), self.window)
        scores = scores.unflatten(2, self.kernel_size)
        scores = scores + relative_scores(query, self.rows, self.columns)
        if any(self.padding):
            inside = self._taps_inside(x, _size(query))
            # Not minus infinity: a window without any pixel would give NaN.
            scores = scores.masked_fill(~inside, torch.finfo(scores.dtype).min)
        return scores.flatten(2, 3).softmax(2)

    def _taps_inside(self, x: Tensor, outputs: Pair) -> Tensor:
        return taps_inside(_size(x), self.padding, outputs, self.window, x.device)

    def queries(
        self, x: Float[Tensor, '*map height width']
    ) -> Float[Tensor, 'batch {self.num_heads} channels rows columns']:
        """Return the query of each output.

        Args:
            x: The map, (B, in_channels, H, W).

        Raises:
            UserError: If `x` is no batch of maps, or smaller than a window.
        """
        self._check_maps(x)
        down, along = self._margins()
        centres = F.pad(x, (along, along, down, down)) if down or along else x
        return self._heads(
            F.conv2d(centres, self.query, None, self.stride, 0, 1, self.groups)
        )

    def whole_map_weights(
        self,
        x: Float[Tensor, 'batch {self.in_channels} height width'],
        row: int,
        column: int,
    ) -> Float[Tensor, 'batch {self.num_heads} height width']:
        """Return what one output's weights would be without window and offsets.

        Args:
            x: The map.
            row: Of the output.
            column: Of the output.
        """
        query = self.queries(x)[..., row, column]
        keys = self._heads(F.conv2d(x, self.key, None, 1, 0, 1, self.groups))
        scores = torch.einsum('bhc,bhcyx->bhyx', query, keys)
        return scores.flatten(2).softmax(-1).view_as(scores)

    def _margins(self) -> Pair:
        """Return how far the centres of windows reach beyond the image (or within)."""
        down, along = (
            pad - step * (side // 2)
            for pad, step, side in zip(
                self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        return down, along

    def _heads(self, maps: Tensor) -> Tensor:
        return maps.unflatten(1, (self.num_heads, -1))

    def extra_repr(self) -> str:
        """Return what the print of a model says of this layer."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, '
            f'stride={self.stride}, padding={self.padding}, dilation={self.dilation}, '
            f'groups={self.groups}, bias={self.bias is not None}, '
            f'num_heads={self.num_heads}'
        )


def _check_arguments(cls: type, args: tuple, kwargs: dict[str, Any]) -> None:
    """Refuse what the class does not know, which a convolution made here would not see.

    Copies and unpickled modules are made without arguments: nothing to refuse.
    """
    if not (args or kwargs):
        return
    try:
        signature(cls.__init__).bind(None, *args, **kwargs)  # type: ignore[misc]
    except TypeError as error:
        known = ', '.join((*_CONVOLUTION, 'num_heads', 'min_in_channels', 'init_cfg'))
        raise UserError(f'{cls.__name__}: {error}: use {known}') from None


def _pair(name: str, value: int | Pair | str) -> Pair:
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        raise UserError(
            f'LocalSelfAttention2d: {name}={value!r}: use numbers; dilation * '
            '(kernel_size // 2) pads to the same size, 0 is no padding'
        )
    down, along = value
    return down, along


def _size(maps: Tensor) -> Pair:
    return maps.size(-2), maps.size(-1)
