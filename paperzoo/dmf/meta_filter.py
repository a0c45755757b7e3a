"""The dynamic meta-filter: filters for the query, predicted from the support.

An episode has Q queries and K classes, and every pair of them has filters of its own.
What is linear is computed before pairs are made: the offsets of a pair are the sum of a
map of its query and a map of its class, and a deformable convolution samples a class's
map after the kernel has reduced it to the few channels of the filters.
"""

from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.ops.sampling import bilinear_corners, weighted_rows
from paperzoo.registry import MODELS


def sampling_offsets(
    query: Float[Tensor, 'queries channels height width'],
    support: Float[Tensor, 'classes channels height width'],
    weight: Float[Tensor, 'offsets both_channels size size'],
) -> Float[Tensor, 'queries classes offsets height width']:
    """Return how far from its regular place each tap samples the support.

    The convolution of query and support, one on top of the other, is the sum of their
    convolutions with the two halves of the kernel: Q + K of them instead of Q times K.

    Args:
        query: The queries' feature maps.
        support: The classes' feature maps.
        weight: Kernel over the channels of the query, then of the support. `offsets`
            are (dy, dx) of each tap of the filter-predicting convolution.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import sampling_offsets
        >>> query, support = torch.rand(4, 8, 3, 3), torch.rand(5, 8, 3, 3)
        >>> sampling_offsets(query, support, torch.rand(18, 16, 5, 5)).shape
        torch.Size([4, 5, 18, 3, 3])

    Paper: dmf "Dynamic Sampling"
    """
    of_query, of_support = weight.chunk(2, dim=1)
    margin = weight.size(-1) // 2
    by_query = F.conv2d(query, of_query, padding=margin)
    return by_query[:, None] + F.conv2d(support, of_support, padding=margin)


def sampled_filters(
    support: Float[Tensor, 'classes channels height width'],
    offsets: Float[Tensor, 'queries classes offsets height width'],
    weight: Float[Tensor, 'filters channels size size'],
) -> Float[Tensor, 'queries classes height width filters']:
    """Return the deformable convolution of the support for each query.

    Sampling and the kernel's matrix commute. The matrix comes first, once per class and
    tap, and so pairs sample `filters` channels instead of all.

    Args:
        support: The classes' feature maps.
        offsets: (dy, dx) of each tap, in pixels; outside of the map there are zeros.
        weight: Kernel of the convolution, of odd size.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import plain_filters, sampled_filters
        >>> support, weight = torch.rand(2, 4, 3, 3), torch.rand(6, 4, 3, 3)
        >>> still = sampled_filters(support, torch.zeros(1, 2, 18, 3, 3), weight)
        >>> torch.testing.assert_close(still, plain_filters(support, weight))

    Paper: dmf "Dynamic Sampling"
    """
    classes, channels, height, width = support.shape
    size = weight.size(-1)
    kernel = weight.permute(1, 2, 3, 0).reshape(channels, -1)
    # One row of the table for each class, pixel and tap.
    table = support.flatten(2).mT.reshape(-1, channels) @ kernel
    table = table.view(-1, weight.size(0))

    # Filled on the device: a tensor made of a list would be copied to it.
    sides = [offsets.new_full((1,), side, dtype=torch.long) for side in (height, width)]
    shape = torch.cat(sides)
    rows, shares = bilinear_corners(sample_places(support, offsets, size), shape)
    # Classes, pixels and taps lie one behind the other in the table.
    first = torch.arange(classes, device=rows.device) * (height * width)
    rows = rows + first.view(-1, 1, 1, 1, 1)
    rows = rows * size**2 + torch.arange(size**2, device=rows.device)[:, None]
    parts = 4 * size**2
    out = weighted_rows(table, rows.reshape(-1, parts), shares.reshape(-1, parts))
    return out.view(offsets.size(0), classes, height, width, -1)


def plain_filters(
    support: Float[Tensor, 'classes channels height width'],
    weight: Float[Tensor, 'filters channels size size'],
) -> Float[Tensor, '1 classes height width filters']:
    """Return the convolution of the support, the same for all queries.

    Args:
        support: The classes' feature maps.
        weight: Kernel of the convolution, of odd size.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import plain_filters
        >>> plain_filters(torch.rand(5, 8, 3, 3), torch.rand(2, 8, 3, 3)).shape
        torch.Size([1, 5, 3, 3, 2])

    Paper: dmf "Dynamic Meta-filter"
    """
    out = F.conv2d(support, weight, padding=weight.size(-1) // 2)
    return out.permute(0, 2, 3, 1)[None]


def apply_filters(
    x: Float[Tensor, '*#maps channels height width'],
    filters: Float[Tensor, '*#maps height width groups taps'],
) -> Float[Tensor, '*maps channels height width']:
    """Return each position's neighbourhood, weighted by the position's own filter.

    Args:
        x: The maps, with zeros around them.
        filters: One filter for each position and group of neighbouring channels; taps
            are the rows of a square one after the other.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import apply_filters
        >>> x, filters = torch.ones(4, 3, 3), torch.full((3, 3, 2, 9), 0.5)
        >>> apply_filters(x, filters)[0]  # 4, 6 or 9 neighbours, each one half
        tensor([[2.0000, 3.0000, 2.0000],
                [3.0000, 4.5000, 3.0000],
                [2.0000, 3.0000, 2.0000]])

    Paper: dmf "Dynamic Meta-filter"
    """
    groups, taps = filters.shape[-2:]
    height, width = x.shape[-2:]
    size = round(taps**0.5)
    margin = size // 2
    weights = filters.movedim((-2, -1), (-4, -3)).unsqueeze(-3)
    padded = F.pad(x.unflatten(-3, (groups, -1)), (margin, margin, margin, margin))
    out = torch.zeros((), dtype=x.dtype, device=x.device)
    for tap in range(taps):
        top, left = divmod(tap, size)
        part = padded[..., top : top + height, left : left + width]
        out = out + part * weights[..., tap, :, :, :]
    return out.flatten(-4, -3)


def interleave_taps(
    filters: Float[Tensor, '*maps height width groups taps'],
) -> Float[Tensor, '*maps height width groups taps']:
    """Return the filters with positions and taps mixed up as the authors' code does.

    Their code reads memory ordered (tap, position) as if it were (position, tap), which
    makes no difference for one tap.

    Args:
        filters: The filters as they should be.

    Example:
        >>> import torch
        >>> from paperzoo.dmf.meta_filter import interleave_taps
        >>> filters = torch.arange(4.0).view(1, 2, 1, 2)  # two positions of two taps
        >>> interleave_taps(filters).flatten()
        tensor([0., 2., 1., 3.])
    """
    height, width, _, taps = filters.shape[-4:]
    memory = filters.movedim((-2, -1), (-4, -3)).flatten(-3)
    mixed = memory.unflatten(-1, (height, width, taps))
    return mixed.movedim(-4, -2)


def tap_places(
    support: Float[Tensor, '*maps height width'], size: int
) -> Float[Tensor, 'height width taps 2']:
    """Return the regular places (y, x) of the taps around each position.

    Args:
        support: Maps whose height and width count.
        size: Side of the kernel, odd.

    Example:
        >>> import torch
        >>> from paperzoo.dmf.meta_filter import tap_places
        >>> tap_places(torch.rand(8, 5, 5), 3)[2, 1, :4].tolist()
        [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [2.0, 0.0]]
    """
    near = torch.arange(size, device=support.device) - size // 2
    y = torch.arange(support.size(-2), device=support.device)[:, None] + near
    x = torch.arange(support.size(-1), device=support.device)[:, None] + near
    full = (len(y), len(x), size, size)
    grid = y[:, None, :, None].expand(full), x[None, :, None, :].expand(full)
    return torch.stack(grid, dim=-1).flatten(2, 3).to(support.dtype)


def sample_places(
    support: Float[Tensor, '*maps height width'],
    offsets: Float[Tensor, '*pairs coordinates height width'],
    size: int,
) -> Float[Tensor, '*pairs height width taps 2']:
    """Return the places (y, x) on the support where the taps of a position sample it.

    Args:
        support: Maps whose height and width count.
        offsets: (dy, dx) of each tap, in pixels.
        size: Side of the kernel, odd.

    Example:
        >>> import torch
        >>> from paperzoo.dmf.meta_filter import sample_places
        >>> offsets = torch.tensor([0.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        >>> sample_places(torch.rand(8, 4, 4), offsets, size=1)[0, 1, 3].tolist()
        [[1.5, 1.0]]

    Paper: dmf "Dynamic Sampling"
    """
    moves = offsets.unflatten(-3, (size**2, 2)).movedim((-4, -3), (-2, -1))
    return moves + tap_places(support, size)


@MODELS.register_module()
class DynamicMetaFilter(BaseModule):
    """Predicts the filters of each pair of a query and a class.

    Args:
        in_channels: Channels of the feature maps.
        groups: Groups of channels that share a filter; a divisor of `in_channels`.
        kernel: Side of the filters, odd.
        dynamic_sampling: Sample the support where support and query say, instead of
            on a regular 3x3 grid.
        official_kernel3: With `kernel=3`, mix up positions and taps as the authors'
            code does; to compare with it.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If `groups` is no divisor, or `kernel` not odd.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import DynamicMetaFilter
        >>> meta_filter = DynamicMetaFilter(8, groups=2)
        >>> query, support = torch.rand(4, 8, 3, 3), torch.rand(5, 8, 3, 3)
        >>> meta_filter(query, support).shape  # queries, classes, map, groups, taps
        torch.Size([4, 5, 3, 3, 2, 1])

    Paper: dmf "Dynamic Meta-filter"
    """

    def __init__(
        self,
        in_channels: int = 640,
        *,
        groups: int = 64,
        kernel: int = 1,
        dynamic_sampling: bool = True,
        official_kernel3: bool = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        if groups < 1 or in_channels % groups:
            raise UserError(
                f'DynamicMetaFilter: groups={groups} does not divide in_channels='
                f'{in_channels}: use a divisor'
            )
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f'DynamicMetaFilter: kernel={kernel}: use an odd number')
        self.groups = groups
        self.kernel = kernel
        self.official_kernel3 = official_kernel3
        self.offset_conv: nn.Conv2d | None = None
        if dynamic_sampling:
            self.offset_conv = nn.Conv2d(2 * in_channels, 18, 5, padding=2, bias=False)
        self.filter_conv = nn.Conv2d(
            in_channels, groups * kernel**2, 3, padding=1, bias=False
        )
        bound = (9 * in_channels) ** -0.5
        nn.init.uniform_(self.filter_conv.weight, -bound, bound)

    def forward(
        self,
        query: Float[Tensor, 'queries channels height width'],
        support: Float[Tensor, 'classes channels height width'],
    ) -> Float[Tensor, '#queries classes height width {self.groups} {self.kernel**2}']:
        """Return the filters, from 0 to 1; without dynamic sampling all queries share.

        Args:
            query: The queries' feature maps.
            support: The classes' feature maps.
        """
        weight = self.filter_conv.weight
        # Positions and many-term sums: not for half precision.
        with torch.autocast(query.device.type, enabled=False):
            query, support = query.to(weight.dtype), support.to(weight.dtype)
            offsets = self.offsets(query, support)
            if offsets is None:
                logits = plain_filters(support, weight)
            else:
                logits = sampled_filters(support, offsets, weight)
            filters = logits.sigmoid().unflatten(-1, (self.groups, self.kernel**2))
        return interleave_taps(filters) if self.official_kernel3 else filters

    def offsets(
        self,
        query: Float[Tensor, 'queries channels height width'],
        support: Float[Tensor, 'classes channels height width'],
    ) -> Float[Tensor, 'queries classes coordinates height width'] | None:
        """Return the offsets of the samples; None without dynamic sampling.

        Args:
            query: The queries' feature maps.
            support: The classes' feature maps.
        """
        if self.offset_conv is None:
            return None
        return sampling_offsets(query, support, self.offset_conv.weight)
