"""Multi-scale deformable attention: weighted bilinear samples of several maps.

Each head of each query looks at a few points of each level's map, between pixels
bilinearly and as zero outside, and adds what it sees with its attention weights.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.sampling import (
    bilinear_corners,
    gather_rows,
    scatter_rows,
    weighted_rows,
)
from paperzoo.utils.precision import at_least_float32

# Rows that are summed at once: bounds the memory to some 100 MB. On a GPU, where each
# block costs a dozen launches, blocks are larger.
_BLOCK = {'cpu': 2**20, 'cuda': 2**24}


def ms_deform_attn(
    value: Float[Tensor, 'batch keys heads channels'],
    spatial_shapes: Int[Tensor, 'levels 2'],
    level_start_index: Int[Tensor, ' levels'],
    sampling_locations: Float[Tensor, 'batch queries heads levels points 2'],
    attention_weights: Float[Tensor, 'batch queries heads levels points'],
) -> Float[Tensor, 'batch queries heads*channels']:
    """Return what each query sees; it can be differentiated.

    Args:
        value: The pixels of all levels, one after another; half precision is computed
            as float32.
        spatial_shapes: Height and width of each level.
        level_start_index: The key with which each level begins.
        sampling_locations: (x, y); the image spans from 0 to 1.
        attention_weights: Weight of each point.

    Example:
        >>> import torch
        >>> from paperzoo.ops.ms_deform_attn import ms_deform_attn
        >>> value = torch.tensor([1.0, 2, 3, 6]).view(1, 4, 1, 1)  # one map of 2 x 2
        >>> centre = torch.full((1, 1, 1, 1, 1, 2), 0.5)
        >>> levels = torch.tensor([[2, 2]]), torch.tensor([0])
        >>> ms_deform_attn(value, *levels, centre, torch.ones(1, 1, 1, 1, 1))
        tensor([[[3.]]])
    """
    batch, _, heads, channels = value.shape
    queries = sampling_locations.size(1)
    if value.numel() == 0 or sampling_locations.numel() == 0:
        return value.new_zeros(batch, queries, heads * channels)
    tables = at_least_float32(value).flatten(1, 2).contiguous()
    output = tables.new_empty(batch, queries, heads, channels)
    levels = spatial_shapes, level_start_index
    for image, block in _blocks(sampling_locations):
        looks = sampling_locations[image, block], attention_weights[image, block]
        rows, weights = _attended_rows(*looks, *levels)
        seen = weighted_rows(tables[image], rows, weights.to(tables))
        output[image, block] = seen.view(-1, heads, channels)
    return output.flatten(2).to(value.dtype)


def _attended_rows(
    locations: Float[Tensor, 'queries heads levels points 2'],
    attention: Float[Tensor, 'queries heads levels points'],
    shapes: Int[Tensor, 'levels 2'],
    starts: Int[Tensor, ' levels'],
) -> tuple[
    Int[Tensor, 'queries*heads levels*points*4'],
    Float[Tensor, 'queries*heads levels*points*4'],
]:
    """Return which rows of an image's value each head of each query adds, and weights.

    The table has one row for each key and head.
    """
    queries, heads = locations.shape[:2]
    size = shapes[:, None]  # against levels, points
    positions = at_least_float32(locations).flip(-1) * size - 0.5
    pixels, weights = bilinear_corners(positions, size)
    head = torch.arange(heads, device=pixels.device).view(-1, 1, 1, 1)
    rows = (pixels + starts[:, None, None]) * heads + head
    weights = weights * at_least_float32(attention)[..., None]
    return rows.view(queries * heads, -1), weights.view(queries * heads, -1)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return what each query sees."""
    return ms_deform_attn(
        value,
        value_spatial_shapes,
        value_level_start_index,
        sampling_locations,
        attention_weights,
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of the value, the locations and the attention weights."""
    if value.numel() == 0 or sampling_locations.numel() == 0:
        for grad in (grad_value, grad_sampling_loc, grad_attn_weight):
            grad.zero_()
        return
    tables = at_least_float32(value.detach()).flatten(1, 2).contiguous()
    grad_tables = torch.zeros_like(tables)
    levels = value_spatial_shapes, value_level_start_index
    for image, block in _blocks(sampling_locations):
        looks = [
            x[image, block].detach().requires_grad_()
            for x in (sampling_locations, attention_weights)
        ]
        with torch.enable_grad():
            rows, weights = _attended_rows(looks[0], looks[1], *levels)
            seen = gather_rows(tables[image], rows, weights.to(tables))
        grad = grad_output[image, block].to(seen).reshape(seen.shape)
        of_locations, of_attention = torch.autograd.grad(seen, looks, grad)
        grad_sampling_loc[image, block] = of_locations
        grad_attn_weight[image, block] = of_attention
        weights = weights.detach().to(tables)
        grad_tables[image] += scatter_rows(grad, rows, weights, tables.size(1))
    grad_value.copy_(grad_tables.view_as(value))


def _blocks(locations: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each image with blocks of its queries."""
    batch, queries, heads, levels, points, _ = locations.shape
    most = _BLOCK.get(locations.device.type, _BLOCK['cuda'])
    step = max(1, most // max(1, heads * levels * points * 4))
    for image in range(batch):
        for first in range(0, queries, step):
            yield image, slice(first, first + step)
