"""What the class loss is divided by."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.errors import check_choice

MOMENTUM = 0.9
FIRST_MEAN = 100.0


class ClsNormalizer(nn.Module):
    """Returns what to divide the class loss by; all numbers are means over the ranks.

    Args:
        kind: `'fg'`, the number of positives (the paper's); `'moving_fg'`, its running
            mean, kept in a buffer that is saved with the weights; or `'all'`, the
            number of locations.

    Paper: fcos Eq. 2 (N_pos of its classification term)
    Differs: `'moving_fg'` and `'all'` are options of the authors' AdelaiDet.
    """

    moving_positives: Tensor

    def __init__(self, kind: str = 'fg') -> None:
        super().__init__()
        choices = ('fg', 'moving_fg', 'all')
        check_choice('FCOSHead', 'cls_normalizer', kind, choices)
        self.kind = kind
        if kind == 'moving_fg':
            self.register_buffer('moving_positives', torch.tensor(FIRST_MEAN))

    @torch.no_grad()
    def forward(
        self, positives: Float[Tensor, ''], locations: Float[Tensor, '']
    ) -> Float[Tensor, '']:
        """Return the divisor, at least 1.

        Args:
            positives: How many locations have an object, per rank.
            locations: How many there are, per rank.
        """
        if self.kind == 'all':
            return locations.clamp(min=1.0)
        if self.kind == 'moving_fg':
            mean = self.moving_positives
            if self.training:
                mean = MOMENTUM * mean + (1 - MOMENTUM) * positives
                # Replaced, not overwritten: a compiled backward pass may compute the
                # mean once more, from the buffer that it was given.
                self.moving_positives = mean
            return mean.clamp(min=1.0)
        return positives.clamp(min=1.0)
