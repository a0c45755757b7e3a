"""Where a token is: sinusoidal positions in one and two dimensions, relative ones."""

from math import tau
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from mmengine.model import BaseModule
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.registry import MODELS


def sine_positions(
    places: Shaped[Tensor, '*places'], channels: int, temperature: float = 10000.0
) -> Float[Tensor, '*places channels']:
    """Return sines and cosines, in turns, of a place at ever longer wavelengths.

    Channels 2i and 2i + 1 turn once in 2 pi temperature^(2i / channels) places, so that
    the encoding of a place further on is a rotation of this one's.

    Args:
        places: The numbers to encode.
        channels: How many there are in all.
        temperature: Of the longest wavelengths.

    Example:
        >>> import torch
        >>> from paperzoo.attention import sine_positions
        >>> sine_positions(torch.tensor([0, 1]), channels=2)
        tensor([[0.0000, 1.0000],
                [0.8415, 0.5403]])

    Paper: attention "Positional Encoding"
    """
    channel = torch.arange(channels, dtype=torch.float32, device=places.device)
    wavelength = temperature ** (2 * (channel // 2) / channels)
    angles = places[..., None] / wavelength
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


def count_places(
    mask: Bool[Tensor, 'batch *space'], axis: int
) -> Float[Tensor, 'batch *space']:
    """Return how many tokens there are along an axis up to each one, itself included.

    Args:
        mask: True where there is only padding.
        axis: The axis, from 1.

    Example:
        >>> import torch
        >>> from paperzoo.attention.positions import count_places
        >>> count_places(torch.tensor([[False, False, True]]), 1)
        tensor([[1., 2., 2.]])
    """
    return (~mask).cumsum(axis, dtype=torch.float32)


def relative_scores(
    query: Float[Tensor, 'batch heads channels height width'],
    rows: Float[Tensor, 'heads half down'],
    columns: Float[Tensor, 'heads half along'],
) -> Float[Tensor, 'batch heads down along height width']:
    """Return how each query scores the offsets from it, q^T r.

    r is the embedding of the row's offset above that of the column's. As the product is
    a sum of both, it needs down + along products instead of down * along.

    Args:
        query: The first half of its channels meets the rows, the second the columns.
        rows: Embeddings of the rows' offsets.
        columns: Embeddings of the columns' offsets.

    Example:
        >>> import torch
        >>> from paperzoo.attention import relative_scores
        >>> query = torch.rand(1, 2, 8, 5, 6)
        >>> relative_scores(query, torch.rand(2, 4, 3), torch.rand(2, 4, 3)).shape
        torch.Size([1, 2, 3, 3, 5, 6])

    Paper: local-attention "Self-Attention"
    """
    upper, lower = query.chunk(2, dim=2)
    by_row = torch.einsum('nhcyx,hci->nhiyx', upper, rows)
    by_column = torch.einsum('nhcyx,hcj->nhjyx', lower, columns)
    return by_row[:, :, :, None] + by_column[:, :, None]


@MODELS.register_module()
class SinePositionalEncoding(BaseModule):
    """Sinusoidal positions of the tokens of sequences or of the pixels of maps.

    The arguments are those of mmdet's class, and so is the result for maps.

    Args:
        num_feats: Channels for each axis; a map's encoding has twice as many.
        temperature: Of the longest wavelengths.
        normalize: Let the last token of each row or column be at `scale`.
        scale: See `normalize`.
        eps: Keeps an axis without tokens from being divided by zero.
        offset: Added to the places before they are normalised.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If `num_feats` is odd, or less than 2.

    Example:
        >>> import torch
        >>> from paperzoo.attention import SinePositionalEncoding
        >>> encoding = SinePositionalEncoding(num_feats=4)
        >>> encoding(None, torch.rand(2, 16, 5, 6)).shape  # of maps
        torch.Size([2, 8, 5, 6])
        >>> encoding(None, torch.rand(2, 10, 16)).shape  # of sequences
        torch.Size([2, 10, 4])

    Paper: attention "Positional Encoding"
    Differs: the first token is number 1, as in mmdet; padding has the number of the
        last token before it.
    """

    def __init__(
        self,
        num_feats: int,
        temperature: float = 10000,
        normalize: bool = False,
        scale: float = tau,
        eps: float = 1e-6,
        offset: float = 0.0,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_feats < 2 or num_feats % 2:
            raise UserError(
                f'SinePositionalEncoding: num_feats={num_feats}: use an even number, '
                'for every sine has a cosine'
            )
        self.num_feats = num_feats
        self.temperature = float(temperature)
        self.normalize = normalize
        self.scale = scale
        self.eps = eps
        self.offset = offset

    def forward(self, mask: Tensor | None, input: Tensor | None = None) -> Tensor:  # noqa: A002
        """Return the positions of maps (B, 2 * num_feats, H, W) or of sequences.

        Those of sequences are (B, N, num_feats), like the tokens that they belong to.

        Args:
            mask: (B, H, W) or (B, N); true or non-zero where there is only padding.
            input: With no mask: a map (B, C, H, W) or a sequence (B, N, C), which has
                no padding.
        """
        if mask is None:
            assert input is not None
            maps = input.dim() == 4
            shape = input[:, 0].shape if maps else input[..., 0].shape
            mask = torch.zeros(shape, dtype=torch.bool, device=input.device)
        mask = mask.bool()
        if mask.dim() == 2:
            return self._along(mask, 1)
        both = self._along(mask, 1), self._along(mask, 2)
        return torch.cat(both, dim=-1).permute(0, 3, 1, 2)

    def _along(self, mask: Tensor, axis: int) -> Tensor:
        places = count_places(mask, axis)
        if self.normalize:
            last = places.narrow(axis, mask.size(axis) - 1, 1)
            places = (places + self.offset) / (last + self.eps) * self.scale
        return sine_positions(places, self.num_feats, self.temperature)
