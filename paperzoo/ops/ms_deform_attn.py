"""Multi-scale deformable attention: weighted bilinear samples of several maps.

Each head of each query looks at a few points of each level's map, between pixels
bilinearly and as zero outside, and adds what it sees with its attention weights.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.sampling import bilinear_corners, gather_rows, scatter_rows
from paperzoo.utils.precision import at_least_float32

# Rows that are summed at once: bounds the memory to some 100 MB. On a GPU, where each
# block costs a dozen launches, blocks are larger.
_BLOCK = {'cpu': 2**20, 'cuda': 2**24}


def attended_rows(
    locations: Float[Tensor, 'queries heads levels points 2'],
    attention: Float[Tensor, 'queries heads levels points'],
    shapes: Int[Tensor, 'levels 2'],
    starts: Int[Tensor, ' levels'],
) -> tuple[
    Int[Tensor, 'queries*heads levels*points*4'],
    Float[Tensor, 'queries*heads levels*points*4'],
]:
    """Return which rows of an image's value each head of each query adds, and weights.

    Args:
        locations: (x, y); the image spans from 0 to 1.
        attention: Weight of each point.
        shapes: Height and width of each level.
        starts: The key with which each level begins.
    """
    queries, heads = locations.shape[:2]
    size = shapes[:, None]  # against levels, points
    positions = locations.flip(-1) * size - 0.5
    pixels, weights = bilinear_corners(positions, size)
    keys = pixels + starts[:, None, None]
    head = torch.arange(heads, device=keys.device).view(-1, 1, 1, 1)
    rows = keys * heads + head
    weights = weights * attention[..., None]
    return rows.view(queries * heads, -1), weights.view(queries * heads, -1)


def ms_deform_attn_forward(
    value: Float[Tensor, 'batch keys heads channels'],
    value_spatial_shapes: Int[Tensor, 'levels 2'],
    value_level_start_index: Int[Tensor, ' levels'],
    sampling_locations: Float[Tensor, 'batch queries heads levels points 2'],
    attention_weights: Float[Tensor, 'batch queries heads levels points'],
    im2col_step: int,
) -> Float[Tensor, 'batch queries heads*channels']:
    """Return what each query sees; half precision is computed as float32."""
    batch, _, heads, channels = value.shape
    queries = sampling_locations.size(1)
    if value.numel() == 0 or sampling_locations.numel() == 0:
        return value.new_zeros(batch, queries, heads * channels)
    tables = at_least_float32(value).flatten(1, 2).contiguous()
    output = tables.new_empty(batch, queries, heads, channels)
    for image, block in _blocks(sampling_locations):
        rows, weights = attended_rows(
            at_least_float32(sampling_locations[image, block]),
            at_least_float32(attention_weights[image, block]),
            value_spatial_shapes,
            value_level_start_index,
        )
        seen = gather_rows(tables[image], rows, weights.to(tables))
        output[image, block] = seen.view(-1, heads, channels)
    return output.flatten(2).to(value.dtype)


def ms_deform_attn_backward(
    value: Float[Tensor, 'batch keys heads channels'],
    value_spatial_shapes: Int[Tensor, 'levels 2'],
    value_level_start_index: Int[Tensor, ' levels'],
    sampling_locations: Float[Tensor, 'batch queries heads levels points 2'],
    attention_weights: Float[Tensor, 'batch queries heads levels points'],
    grad_output: Float[Tensor, 'batch queries heads*channels'],
    grad_value: Float[Tensor, 'batch keys heads channels'],
    grad_sampling_loc: Float[Tensor, 'batch queries heads levels points 2'],
    grad_attn_weight: Float[Tensor, 'batch queries heads levels points'],
    im2col_step: int,
) -> None:
    """Write the gradients of the value, the locations and the attention weights."""
    if value.numel() == 0 or sampling_locations.numel() == 0:
        for grad in (grad_value, grad_sampling_loc, grad_attn_weight):
            grad.zero_()
        return
    channels = value.size(3)
    tables = at_least_float32(value.detach()).flatten(1, 2).contiguous()
    grad_tables = torch.zeros_like(tables)
    for image, block in _blocks(sampling_locations):
        grad = (
            at_least_float32(grad_output[image, block]).reshape(-1, channels).to(tables)
        )
        places, attention = (
            at_least_float32(x[image, block].detach()).requires_grad_()
            for x in (sampling_locations, attention_weights)
        )
        with torch.enable_grad():
            rows, weights = attended_rows(
                places, attention, value_spatial_shapes, value_level_start_index
            )
            seen = gather_rows(tables[image], rows, weights.to(tables))
        grad_location, grad_attention = torch.autograd.grad(
            seen, (places, attention), grad
        )
        grad_sampling_loc[image, block] = grad_location.to(grad_sampling_loc)
        grad_attn_weight[image, block] = grad_attention.to(grad_attn_weight)
        grad_tables[image] += scatter_rows(
            grad, rows, weights.detach().to(tables), tables.size(1)
        )
    grad_value.copy_(grad_tables.view_as(value))


def _blocks(locations: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each image with blocks of its queries."""
    batch, queries, heads, levels, points, _ = locations.shape
    most = _BLOCK.get(locations.device.type, _BLOCK['cuda'])
    step = max(1, most // max(1, heads * levels * points * 4))
    for image in range(batch):
        for first in range(0, queries, step):
            yield image, slice(first, first + step)
