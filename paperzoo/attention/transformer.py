"""The layers of a transformer, of an encoder and of a decoder."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.attention.modules import MultiHeadSelfAttention
from paperzoo.registry import MODELS


@MODELS.register_module()
class TransformerEncoderLayer(BaseModule):
    """Self-attention, then a feed-forward network, each with a residual and a norm.

    With `cross_attention` it is the layer of a decoder: between the two it looks at a
    memory. Weights that `nn.TransformerEncoderLayer` has are named as there.

    Args:
        embed_dims: Channels of the tokens.
        num_heads: Of each attention.
        feedforward_channels: Hidden channels of the feed-forward network.
        dropout: Of the attention's weights, the hidden channels and what is added to
            the tokens.
        pre_norm: Normalise what goes into a sublayer, not the sum behind it.
        cross_attention: Look at a memory, too.
        init_cfg: As in every MMEngine module.

    Example:
        >>> import torch
        >>> from paperzoo.attention import TransformerEncoderLayer
        >>> layer = TransformerEncoderLayer(8, num_heads=2, feedforward_channels=16)
        >>> layer(torch.rand(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Paper: attention Eq. 2
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        *,
        dropout: float = 0.1,
        pre_norm: bool = False,
        cross_attention: bool = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.pre_norm = pre_norm
        make = partial(MultiHeadSelfAttention, embed_dims, num_heads, attn_drop=dropout)
        self.self_attn = make()
        self.norm1 = nn.LayerNorm(embed_dims)
        self.cross_attn: MultiHeadSelfAttention | None = None
        if cross_attention:
            self.cross_attn = make()
            self.norm_cross = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        *,
        attn_mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_pos: Tensor | None = None,
        memory_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens after this layer, (B, N, C).

        Args:
            query: The tokens, (B, N, C).
            query_pos: Added to them wherever they are compared, (B, N, C).
            key_padding_mask: True where a token is padding, (B, N).
            attn_mask: True where a token may not look at another: (N, N), (B, N, N), or
                (B * heads, N, N) for each head its own.
            memory: What `cross_attention` looks at, (B, M, C).
            memory_pos: Added to it where it is compared, (B, M, C).
            memory_padding_mask: True where it is padding, (B, M).
        """
        query = self._add(
            query,
            self.norm1,
            lambda x: self.self_attn(
                x,
                query_pos=query_pos,
                attn_mask=attn_mask,
                key_padding_mask=key_padding_mask,
            ),
        )
        if (cross_attn := self.cross_attn) is not None:
            assert memory is not None, 'cross-attention needs a memory'
            # Else a memory of as many tokens would get the queries' positions.
            bare = memory.new_zeros(()) if memory_pos is None else memory_pos
            query = self._add(
                query,
                self.norm_cross,
                lambda x: cross_attn(
                    x,
                    memory,
                    query_pos=query_pos,
                    key_pos=bare,
                    key_padding_mask=memory_padding_mask,
                ),
            )
        return self._add(query, self.norm2, self._feed_forward)

    def _add(
        self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]
    ) -> Tensor:
        if self.pre_norm:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.relu(self.linear1(x))))


@MODELS.register_module()
class TransformerEncoder(BaseModule):
    """Layers one after the other; with `cross_attention`, those of a decoder.

    A decoder's tokens must not look ahead: give it `attn_mask=causal_mask(N)`.

    Args:
        num_layers: How many.
        embed_dims: Channels of the tokens.
        num_heads: Of each attention.
        feedforward_channels: Hidden channels of the feed-forward networks.
        dropout: As in `TransformerEncoderLayer`.
        pre_norm: As in `TransformerEncoderLayer`; one more norm follows the last layer.
        cross_attention: As in `TransformerEncoderLayer`.
        init_cfg: As in every MMEngine module.

    Example:
        >>> import torch
        >>> from paperzoo.attention import TransformerEncoder, causal_mask
        >>> decoder = TransformerEncoder(2, 8, 2, 16, cross_attention=True)
        >>> tokens, memory = torch.rand(1, 3, 8), torch.rand(1, 5, 8)
        >>> decoder(tokens, attn_mask=causal_mask(3), memory=memory).shape
        torch.Size([1, 3, 8])

    Paper: attention "Encoder and Decoder Stacks"
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        *,
        dropout: float = 0.1,
        pre_norm: bool = False,
        cross_attention: bool = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.layers = ModuleList(
            TransformerEncoderLayer(
                embed_dims,
                num_heads,
                feedforward_channels,
                dropout=dropout,
                pre_norm=pre_norm,
                cross_attention=cross_attention,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims) if pre_norm else nn.Identity()

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        **memory_and_mask: Tensor | None,
    ) -> Tensor:
        """Return the tokens after the last layer, (B, N, C).

        Args:
            query: The tokens, (B, N, C).
            query_pos: Added to them in each layer wherever they are compared.
            key_padding_mask: True where a token is padding, (B, N).
            **memory_and_mask: As in `TransformerEncoderLayer.forward`.
        """
        for layer in self.layers:
            query = layer(query, query_pos, key_padding_mask, **memory_and_mask)
        return self.norm(query)
