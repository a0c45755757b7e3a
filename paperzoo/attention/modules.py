"""Multi-head attention."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.attention.functional import attention, attention_weights
from paperzoo.errors import UserError
from paperzoo.registry import MODELS


@MODELS.register_module()
class MultiHeadSelfAttention(BaseModule):
    """Attention by several heads, each with its own projections.

    Weights are named as those of `nn.MultiheadAttention`; nothing is added to the
    result. A query that may look at nothing, as all are in a sequence of padding only,
    gets the output projection's bias, never NaN.

    Args:
        embed_dims: Channels of the tokens.
        num_heads: Heads, each with as many of the channels.
        attn_drop: Share of the weights that are zeroed in training.
        bias: Of all projections.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If the heads do not divide the channels.

    Example:
        >>> import torch
        >>> from paperzoo.attention import MultiHeadSelfAttention, causal_mask
        >>> layer = MultiHeadSelfAttention(embed_dims=8, num_heads=2)
        >>> tokens = torch.rand(1, 5, 8)
        >>> layer(tokens).shape
        torch.Size([1, 5, 8])
        >>> layer.attention_weights(tokens, attn_mask=causal_mask(5))[0, 0, 0].tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0]

    Paper: attention "Multi-Head Attention"
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        attn_drop: float = 0.0,
        bias: bool = True,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise UserError(
                f'MultiHeadSelfAttention: num_heads={num_heads} does not divide '
                f'embed_dims={embed_dims}: use a divisor'
            )
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims)) if bias else None
        self.out_proj = nn.Linear(embed_dims, embed_dims, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Float[Tensor, 'batch queries channels'],
        key: Float[Tensor, 'batch keys channels'] | None = None,
        value: Float[Tensor, 'batch keys channels'] | None = None,
        *,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        attn_mask: Shaped[Tensor, '...'] | None = None,
        key_padding_mask: Shaped[Tensor, '...'] | None = None,
    ) -> Float[Tensor, 'batch queries channels']:
        """Return what each query takes from the values.

        Args:
            query: The tokens that ask.
            key: What they look at; without it, the queries look at each other.
            value: What they take; without it, the keys.
            query_pos: Added to the queries before they are compared, (B, Q, C).
            key_pos: Likewise for the keys. Without it, `query_pos` if the keys are the
                queries or it has their shape, as in mmcv's MultiheadAttention; a zero
                keeps them bare.
            attn_mask: True where a query may not look at a key: (Q, K), (B, Q, K), or
                (B * heads, Q, K) for each head its own.
            key_padding_mask: True where a key is padding: (B, K). Of floating point,
                as torch adds it to the scores: minus infinity there, else 0.

        Raises:
            UserError: If `attn_mask` is not of booleans, a mask does not have one of
                these shapes, or floating point holds other numbers.
        """
        q, k, v = self._project(query, key, value, query_pos, key_pos)
        may_see = _may_see(attn_mask, key_padding_mask, q, k)
        heads = self.attend(q, k, v, may_see)
        return self.out_proj(heads.transpose(1, 2).flatten(2))

    def attend(
        self,
        query: Float[Tensor, 'batch heads queries channels'],
        key: Float[Tensor, 'batch heads keys channels'],
        value: Float[Tensor, 'batch heads keys channels'],
        may_see: Bool[Tensor, '... #queries keys'] | None,
    ) -> Float[Tensor, 'batch heads queries channels']:
        """Return what the queries of each head take from the values.

        Args:
            query: Of each head.
            key: Of each head.
            value: Of each head.
            may_see: True where a query may look at a key; None is everywhere.
        """
        dropout = self.attn_drop if self.training else 0.0
        return attention(query, key, value, may_see, dropout)

    def attention_weights(
        self,
        query: Float[Tensor, 'batch queries channels'],
        key: Float[Tensor, 'batch keys channels'] | None = None,
        value: Float[Tensor, 'batch keys channels'] | None = None,
        *,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        attn_mask: Shaped[Tensor, '...'] | None = None,
        key_padding_mask: Shaped[Tensor, '...'] | None = None,
    ) -> Float[Tensor, 'batch {self.num_heads} queries _']:
        """Return how much each query takes of each value.

        For eyes, without dropout; `forward` never has these numbers. The arguments are
        those of `forward`.
        """
        q, k, _ = self._project(query, key, value, query_pos, key_pos)
        may_see = _may_see(attn_mask, key_padding_mask, q, k)
        return attention_weights(q, k, may_see)

    def _project(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        query_pos: Tensor | None,
        key_pos: Tensor | None,
    ) -> list[Tensor]:
        """Return queries, keys, values of the heads, each (B, heads, N, channels)."""
        key = query if key is None else key
        if key_pos is None and query_pos is not None:
            shared = key is query or query_pos.shape == key.shape
            key_pos = query_pos if shared else None
        value = key if value is None else value
        inputs = _add(query, query_pos), _add(key, key_pos), value
        weights = self.in_proj_weight.chunk(3)
        biases: Any = (None, None, None)
        if self.in_proj_bias is not None:
            biases = self.in_proj_bias.chunk(3)
        return [
            F.linear(x, weight, bias)
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        ]


def _add(tokens: Tensor, positions: Tensor | None) -> Tensor:
    return tokens if positions is None else tokens + positions


def _may_see(
    attn_mask: Tensor | None,
    padding: Tensor | None,
    query: Float[Tensor, 'batch heads queries channels'],
    key: Float[Tensor, 'batch heads keys channels'],
) -> Tensor | None:
    """Return where the queries of each head may look, (B, heads, Q, K) or broadcast."""
    may_see = None
    if attn_mask is not None:
        may_see = ~_of_heads(attn_mask, query, key)
    if padding is not None:
        real = ~_of_padding(padding, query, key)[:, None, None]
        may_see = real if may_see is None else may_see & real
    return may_see


def _of_heads(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        raise UserError(
            f'MultiHeadSelfAttention: attn_mask is of {mask.dtype}: use '
            'booleans, true where a query may not look at a key (attn_mask < 0 if '
            'these are minus infinities)'
        )
    batch, heads, queries = query.shape[:3]
    pairs = (queries, key.size(2))
    if mask.shape == pairs:
        return mask[None, None]
    if mask.dim() == 3 and mask.shape[1:] == pairs:
        if mask.size(0) in (1, batch):
            return mask[:, None]
        if mask.size(0) == batch * heads:  # as nn.MultiheadAttention takes them
            return mask.unflatten(0, (batch, heads))
    raise UserError(
        f'MultiHeadSelfAttention: attn_mask has the shape {tuple(mask.shape)}; for '
        f'{batch} sequences, {heads} heads, {queries} queries and {pairs[1]} keys use '
        f'{pairs}, {(batch, *pairs)}, or {(batch * heads, *pairs)}, one for each head'
    )


def _of_padding(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    shape = (query.size(0), key.size(2))
    if mask.shape != shape:
        raise UserError(
            f'MultiHeadSelfAttention: key_padding_mask has the shape '
            f'{tuple(mask.shape)}: use {shape}, sequences and keys'
        )
    if not mask.is_floating_point():
        return mask.bool()
    # What torch adds to the scores: minus infinity hides a key, 0 does not.
    hidden = mask == -torch.inf
    if not (hidden | (mask == 0)).all():
        raise UserError(
            'MultiHeadSelfAttention: key_padding_mask is of floating point and neither '
            '0 nor minus infinity everywhere: use booleans, true where a key is padding'
        )
    return hidden
