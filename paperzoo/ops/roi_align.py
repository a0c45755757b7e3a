"""RoIAlign, forward and backward: bilinear samples on a grid in each bin of a RoI.

A bin's mean is a weighted sum of pixels: a sparse matrix times the image as a table of
pixels. The gradient is the transposed matrix times the pooled gradients. The forward
keeps the matrix for it in the two buffers in which mmcv saves the places of the maxima
for its backward; for the mean they come empty.

On a GPU torchvision's compiled operator takes the mean, where it can be imported.

Differs: mmcv computes the positions of half precision RoIs in half precision, and its
CPU kernel has no bfloat16; here both are computed in float32. That kernel refuses RoIs
of negative size, the CUDA kernel computes them, as is done here: Sparse R-CNN makes
some in its first steps.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops import roi_common as common
from paperzoo.ops.memory import empty, hand_over
from paperzoo.ops.roi_align_max import max_pool, max_pool_gradient
from paperzoo.ops.roi_bins import RoIGrid, mean_matrices
from paperzoo.ops.sparse import SparseMatrix, product, runs, transposed
from paperzoo.ops.torchvision_ops import call_torchvision
from paperzoo.utils.precision import at_least_float32

# mmcv's number for the pooling mode; the maximum is 0.
_MEAN = 1
# Bytes of a number that is as long as an int64.
_LONG = 8

# The two that mmcv passes to the forward and, saved, to the backward.
Buffers = tuple[Tensor, Tensor]


def roi_align(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: Literal['avg', 'max'] = 'avg',
    aligned: bool = True,
) -> Float[Tensor, 'rois channels bins_y bins_x']:
    """Return the mean (or maximum) of bilinear samples in each bin of each RoI.

    The arguments are those of mmcv. The result can be differentiated for the image.

    Args:
        image: The batch of images.
        rois: Image index, left, top, right and bottom edge.
        output_size: Number of bins on both axes.
        spatial_scale: Size of the image to that of what the RoIs are measured in.
        sampling_ratio: Samples in a bin on each axis; 0 or less is about one per pixel.
        pool_mode: `'avg'` or `'max'`.
        aligned: Whether the centre of the first pixel is at (0.5, 0.5), else (0, 0).

    Raises:
        UserError: If there are RoIs but the images have no pixels. On a CPU also if a
            RoI is not finite or of no image; and if there are more samples in a bin
            than the maximum can count (of half precision images 32767).

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align import roi_align
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi_align(image, torch.tensor([[0.0, 0, 0, 4, 4]]), output_size=2)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    bins = (output_size,) * 2 if isinstance(output_size, int) else output_size
    mode = _MEAN if pool_mode == 'avg' else 0
    if mode == _MEAN and image.is_cuda:
        common.check_rois('roi_align', rois, image.shape)
        grid = RoIGrid(bins, spatial_scale, max(0, sampling_ratio), aligned)
        pooled = _mean_by_torchvision(image, rois, grid)
        if pooled is not None:
            return pooled.to(image.dtype)
    options = *bins, spatial_scale, sampling_ratio, mode, aligned
    return _RoIAlign.apply(image, rois, options)


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, rois: Tensor, options: tuple) -> Tensor:
        pooled = image.new_empty(len(rois), image.size(1), *options[:2])
        places = torch.empty_like(pooled) if options[4] != _MEAN else image.new_empty(0)
        buffers = places, image.new_empty(0)
        roi_align_forward(image, rois, pooled, *buffers, *options)
        ctx.save_for_backward(rois, *buffers)
        ctx.options, ctx.shape = options, image.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad_image = grad.new_zeros(ctx.shape)
        rois, argmax_y, argmax_x = ctx.saved_tensors
        grad = grad.contiguous()
        roi_align_backward(grad, rois, argmax_y, argmax_x, grad_image, *ctx.options)
        return grad_image, None, None


def _mean_by_torchvision(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
) -> Float[Tensor, 'rois channels bins_y bins_x'] | None:
    """Return what torchvision's compiled operator does, in float32 at least."""
    image = at_least_float32(image)
    rois = rois.to(image.dtype)
    # Its samples of a RoI without end would take forever: put it outside the image.
    finite = rois.isfinite().all(dim=1, keepdim=True)
    index, corners = rois.split((1, 4), dim=1)
    rois = torch.cat(
        (index.where(finite, 0), corners.where(finite, -4 / grid.scale)), 1
    )
    return call_torchvision('roi_align', image, rois, *grid)


def mean_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
    pooled: Float[Tensor, 'rois channels bins_y bins_x'],
    buffers: Buffers,
) -> None:
    """Write the mean of the samples in each bin; 0 without samples.

    Args:
        image: The images.
        rois: Image index, left, top, right and bottom edge.
        grid: How the RoIs are divided and sampled.
        pooled: What is written.
        buffers: They get the matrix, where the backward will ask for it.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align import RoIGrid, mean_pool
        >>> image, rois = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 4, 4]])
        >>> none = torch.empty(0), torch.empty(0)
        >>> grid = RoIGrid((1, 2), 1.0, 0, True)
        >>> mean_pool(image, rois, grid, pooled := torch.empty(1, 1, 1, 2), none)
        >>> pooled
        tensor([[[[1., 1.]]]])
    """
    flat = pooled.flatten(2)
    parts = 0
    for some, matrix in mean_matrices(rois, image.shape, grid):
        for block, table in common.tables(image):
            sums = product(matrix, table)
            sums = sums.view(len(some), -1, table.size(1)).transpose(1, 2)
            flat[some, block] = sums.to(flat.dtype)
        parts += 1
    # More parts than one are too many to be kept: the backward finds them anew.
    if parts == 1 and image.requires_grad:
        _keep(some, matrix, buffers)


def mean_pool_gradient(
    grad_output: Float[Tensor, 'rois channels bins_y bins_x'],
    rois: Float[Tensor, 'rois 5'],
    grid: RoIGrid,
    grad_image: Float[Tensor, 'batch channels height width'],
    buffers: Buffers,
) -> None:
    """Write the gradient of the image from that of the bins' means.

    Args:
        grad_output: Their gradient.
        rois: Image index, left, top, right and bottom edge.
        grid: How the RoIs are divided and sampled.
        grad_image: What is written. It is 0 before, as mmcv makes it.
        buffers: Those of `mean_pool`, or empty ones.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align import RoIGrid, mean_pool_gradient
        >>> rois = torch.tensor([[0.0, 0, 0, 2, 2]])
        >>> grid = RoIGrid((1, 1), 1.0, 0, True)
        >>> none, grad = (torch.empty(0), torch.empty(0)), torch.zeros(1, 1, 2, 3)
        >>> mean_pool_gradient(torch.ones(1, 1, 1, 1), rois, grid, grad, none)
        >>> grad[0, 0].tolist()
        [[0.25, 0.25, 0.0], [0.25, 0.25, 0.0]]
    """
    planes = grad_image.view(*grad_image.shape[:2], -1)
    size, bins = planes.size(2), grid.bins[0] * grid.bins[1]
    blocks = common.channel_blocks(grad_image.shape)
    zero = True
    found = _kept(len(rois), bins, grad_image.shape, buffers)
    for some, matrix in found or mean_matrices(rois, grad_image.shape, grid):
        numbers = some[:, None] * bins + torch.arange(bins, device=rois.device)
        of_pixels = transposed(matrix, numbers.flatten(), len(planes) * size)
        parts = list(runs(of_pixels, size, blocks[0].stop))
        for block in blocks:
            # Channels first, whole bins at a time; then a matrix is transposed.
            rows = grad_output[:, block].flatten(2).transpose(0, 1)
            rows = at_least_float32(rows.flatten(1))
            table = empty(rows, *rows.shape[::-1])
            common.transpose(rows, table)
            for images, pixels, part in parts:
                common.add_rows(
                    product(part, table), planes[images, block, pixels], zero
                )
        zero = False


def _keep(some: Int[Tensor, ' some'], matrix: SparseMatrix, buffers: Buffers) -> None:
    """Put RoIs and the matrix of their bins into buffers, whose type stays.

    The weights go to the first one and the numbers, bit by bit, to the other.
    """
    numbers = torch.cat((some.to(matrix.columns.dtype), matrix.starts, matrix.columns))
    if buffers[1].element_size() == _LONG:
        numbers = numbers.long()
    for buffer, values in zip(buffers, (matrix.weights, numbers), strict=True):
        hand_over(values.view(buffer.dtype), buffer)


def _kept(
    rois: int, bins: int, shape: torch.Size, buffers: Buffers
) -> list[tuple[Int[Tensor, ' some'], SparseMatrix]]:
    """Return what `_keep` put into the buffers; nothing if they are empty."""
    if buffers[1].numel() == 0:
        return []
    long = buffers[1].element_size() == _LONG
    numbers = buffers[1].view(torch.int64 if long else common.index_type(shape))
    weights = buffers[0].view(torch.float64 if long else torch.float32)
    sizes = [rois, rois * bins + 1]
    some, starts, columns = numbers.split([*sizes, len(numbers) - sum(sizes)])
    return [(some.long(), SparseMatrix(columns, weights, starts))]


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
    grid = RoIGrid(
        (aligned_height, aligned_width), spatial_scale, max(0, sampling_ratio), aligned
    )
    rois = rois.to(at_least_float32(input).dtype)
    if pool_mode != _MEAN:
        max_pool(input, rois, grid, (output, argmax_y))
        return
    pooled = _mean_by_torchvision(input, rois, grid) if input.is_cuda else None
    if pooled is not None:
        output.copy_(pooled)
    else:
        mean_pool(input, rois, grid, output, (argmax_y, argmax_x))


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
    grid = RoIGrid(
        (aligned_height, aligned_width), spatial_scale, max(0, sampling_ratio), aligned
    )
    rois = rois.to(at_least_float32(grad_output).dtype)
    if pool_mode != _MEAN:
        max_pool_gradient(grad_output, rois, grid, argmax_y, grad_input)
        return
    pooled = None
    if grad_output.is_cuda:
        # The mean is linear in the image: the gradient is the same at any image.
        with torch.enable_grad():
            image = at_least_float32(grad_input.detach()).requires_grad_()
            pooled = _mean_by_torchvision(image, rois, grid)
    if pooled is not None:
        (found,) = torch.autograd.grad(pooled, image, at_least_float32(grad_output))
        grad_input.copy_(found)
    else:
        mean_pool_gradient(grad_output, rois, grid, grad_input, (argmax_y, argmax_x))
