"""Functions of sets: what each member becomes when it has seen the others."""

from typing import Any

from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn

from paperzoo.attention.modules import MultiHeadSelfAttention


class SetToSet(BaseModule):
    """Self-attention, added to its input: the order of a set is that of the result.

    Args:
        channels: Of a member of a set.
        num_heads: Of the attention.
        dropout: Share of what is added that is zeroed in training.
        norm: Normalise the sum.
        init_cfg: As in every MMEngine module.

    Example:
        >>> import torch
        >>> from paperzoo.feat import SetToSet
        >>> adapt, members = SetToSet(8).eval(), torch.rand(1, 5, 8)
        >>> torch.testing.assert_close(adapt(members.flip(1)), adapt(members).flip(1))

    Paper: feat "Embedding Adaptation via Set-to-set Functions"
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int = 1,
        dropout: float = 0.0,
        norm: bool = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.attention = MultiHeadSelfAttention(channels, num_heads, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.norm: nn.Module = nn.LayerNorm(channels) if norm else nn.Identity()

    def forward(
        self, sets: Float[Tensor, 'sets members channels']
    ) -> Float[Tensor, 'sets members channels']:
        """Return the adapted members.

        Args:
            sets: Sets of as many members.
        """
        return self.norm(sets + self.dropout(self.attention(sets)))
