"""RoIAlign, forward and backward: bilinear samples on a grid in each bin of a RoI.

A bin's mean is a weighted sum of pixels: one `embedding_bag` over the image as a table
of pixels. The gradient is another one, over the pooled gradients, with the entries
sorted by pixel. The forward keeps the entries for it in the two buffers in which mmcv
saves the places of the maxima for its backward; for the mean they come empty.

Differs: mmcv computes the positions of half precision RoIs in half precision, and its
CPU kernel has no bfloat16; here both are computed in float32.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops import roi_common as common
from paperzoo.ops.memory import empty, hand_over
from paperzoo.ops.roi_align_max import max_pool, max_pool_gradient
from paperzoo.ops.roi_bins import mean_bags, runs, transposed
from paperzoo.ops.roi_common import Geometry
from paperzoo.utils.precision import at_least_float32

# mmcv's number for the pooling mode; the maximum is 0.
_MEAN = 1
# Bytes of a number that is as long as an int64.
_LONG = 8

# The two that mmcv passes to the forward and, saved, to the backward.
Buffers = tuple[Tensor, Tensor]


def mean_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    pooled: Float[Tensor, 'rois channels bins_y bins_x'],
    buffers: Buffers,
) -> None:
    """Write the mean of the samples in each bin; 0 without samples.

    Args:
        image: The images.
        rois: Image index, left, top, right and bottom edge.
        geometry: How a RoI is laid on the image.
        pooled: What is written.
        buffers: They get the entries, where the backward will ask for them.
    """
    flat = pooled.flatten(2)
    parts = 0
    for some, bags in mean_bags(rois, image.shape, geometry):
        for block, table in common.tables(image):
            sums = common.weighted_sums(table, bags)
            sums = sums.view(len(some), -1, table.size(1)).transpose(1, 2)
            flat[some, block] = sums.to(flat.dtype)
        parts += 1
    # More parts than one are too many to be kept: the backward finds them anew.
    if parts == 1 and image.requires_grad:
        keep(some, bags, buffers)


def mean_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    geometry: Geometry,
    grad_image: Float[Tensor, 'batch channels height width'],
    buffers: Buffers,
) -> None:
    """Write the gradient of the image from that of the bins' means.

    Args:
        grad_output: Their gradient.
        rois: Image index, left, top, right and bottom edge.
        geometry: How a RoI is laid on the image.
        grad_image: What is written. It is 0 before, as mmcv makes it.
        buffers: Those of `mean_pool`, or empty ones.
    """
    planes = grad_image.view(*grad_image.shape[:2], -1)
    size, bins = planes.size(2), geometry.bins[0] * geometry.bins[1]
    blocks = common.channel_blocks(grad_image.shape)
    zero = True
    found = kept(len(rois), bins, grad_image.shape, buffers)
    for some, bags in found or mean_bags(rois, grad_image.shape, geometry):
        of_pixels = transposed(some, bags, bins, len(planes) * size)
        parts = list(runs(of_pixels, size, blocks[0].stop))
        for block in blocks:
            # Channels first, whole bins at a time; then a matrix is transposed.
            matrix = grad_output[:, block].flatten(2).transpose(0, 1)
            matrix = at_least_float32(matrix.flatten(1))
            table = empty(matrix, *matrix.shape[::-1])
            common.transpose(matrix, table)
            for images, pixels, part in parts:
                sums = common.weighted_sums(table, part)
                common.add_rows(sums, planes[images, block, pixels], zero)
        zero = False


def keep(some: Int[Tensor, ' some'], bags: common.Bags, buffers: Buffers) -> None:
    """Put RoIs and the bags of their bins into buffers, whose type stays.

    The weights go to the first one and the numbers, bit by bit, to the other.
    """
    numbers = torch.cat((some.to(bags.rows.dtype), bags.bounds, bags.rows))
    if buffers[1].element_size() == _LONG:
        numbers = numbers.long()
    for buffer, values in zip(buffers, (bags.weights, numbers), strict=True):
        hand_over(values.view(buffer.dtype), buffer)


def kept(
    rois: int, bins: int, shape: torch.Size, buffers: Buffers
) -> list[tuple[Int[Tensor, ' some'], common.Bags]]:
    """Return what `keep` put into the buffers; nothing if they are empty.

    Args:
        rois: How many RoIs there are.
        bins: How many bins a RoI has.
        shape: Shape of the batch of images.
        buffers: See `keep`.
    """
    if buffers[1].numel() == 0:
        return []
    long = buffers[1].element_size() == _LONG
    numbers = buffers[1].view(torch.int64 if long else common.index_type(shape))
    weights = buffers[0].view(torch.float64 if long else torch.float32)
    sizes = [rois, rois * bins + 1]
    some, bounds, rows = numbers.split([*sizes, len(numbers) - sum(sizes)])
    return [(some.long(), common.Bags(rows, weights, bounds))]


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled RoIs and, for the maximum (mode 0), the places it comes from."""
    common.check_rois('roi_align', rois, input.shape)
    if output.numel() == 0:
        return
    bins = (aligned_height, aligned_width)
    geometry = Geometry(bins, spatial_scale, sampling_ratio, aligned)
    rois = rois.to(at_least_float32(input).dtype)
    if pool_mode == _MEAN:
        mean_pool(input, rois, geometry, output, (argmax_y, argmax_x))
    else:
        max_pool(input, rois, geometry, (output, argmax_y))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the image, into zeros."""
    if grad_output.numel() == 0:
        grad_input.zero_()
        return
    bins = (aligned_height, aligned_width)
    geometry = Geometry(bins, spatial_scale, sampling_ratio, aligned)
    rois = rois.to(at_least_float32(grad_output).dtype)
    if pool_mode == _MEAN:
        buffers = (argmax_y, argmax_x)
        mean_pool_gradient(grad_output, rois, geometry, grad_input, buffers)
    else:
        max_pool_gradient(grad_output, rois, geometry, argmax_y, grad_input)
