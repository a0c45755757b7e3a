"""Deformable RoI pooling: RoIAlign whose bins are moved by offsets.

Differs: mmcv's kernel (CUDA only) goes on where a sample up to a pixel outside the
image counts as the border: its gradient of the offsets is not 0 there.
"""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.ops.roi_bins import RoIGrid, samples_of
from paperzoo.ops.roi_common import check_rois
from paperzoo.ops.roi_samples import mean_of_samples, sampled_alike
from paperzoo.utils.precision import at_least_float32


def deform_roi_pool(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 5'],
    offset: Float[Tensor, 'rois xy=2 bins_y bins_x'] | None,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Float[Tensor, 'rois channels bins_y bins_x']:
    """Return the mean of bilinear samples in each moved bin of each RoI.

    It can be differentiated for the image and the offsets; half precision comes back as
    float32.

    Args:
        image: The batch of images.
        rois: Image index, left, top, right and bottom edge; the centre of the first
            pixel is at (0.5, 0.5). One of no or of negative size, with a sampling ratio
            of 0, has no sample and gives 0.
        offset: How far each bin is moved, right and down, in sizes of the RoI.
        output_size: Number of bins on both axes.
        spatial_scale: Size of the image to that of what the RoIs are measured in.
        sampling_ratio: Samples in a bin on each axis; 0 or less is about one per pixel.
        gamma: What the offsets are multiplied by.

    Raises:
        UserError: If there are RoIs but the images have no pixels, and on a CPU if a
            RoI is not finite or of no image.

    Example:
        >>> import torch
        >>> from paperzoo.ops.deform_roi_pool import deform_roi_pool
        >>> image, roi = torch.arange(16.0).view(1, 1, 4, 4), torch.zeros(1, 5)
        >>> roi[:, 3:] = 2  # two pixels wide and high
        >>> down = torch.tensor([0.0, 1]).view(1, 2, 1, 1)
        >>> deform_roi_pool(image, roi, down, (1, 1), gamma=0.5).item()
        6.5
    """
    check_rois('deform_roi_pool', rois, image.shape)
    image = at_least_float32(image)
    rois = rois.to(image.dtype)
    corners = rois[:, [2, 1, 4, 3]] * spatial_scale - 0.5
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    step = size / size.new_tensor(output_size)
    grid = RoIGrid(output_size, spatial_scale, max(0, sampling_ratio), True)
    moves = image.new_zeros(len(rois), 2, *output_size)
    if offset is not None:
        moves = gamma * size.flip(1)[..., None, None] * offset.to(image.dtype)
    bins = output_size[0] * output_size[1]
    pooled = image.new_zeros(len(rois), image.size(1), bins)
    for some, (high, wide) in sampled_alike(samples_of(step, grid), bins):
        places = []
        for axis, number in enumerate((high, wide)):
            before = torch.arange(output_size[axis]).to(rois)
            before = before.view((-1, 1) if axis == 0 else (1, -1))
            within = (torch.arange(number).to(rois) + 0.5) / number
            within = within.view((-1, 1) if axis == 0 else (1, -1))
            units = before[..., None, None] + within  # bins_y bins_x samples samples
            at = start[some, axis].view(-1, 1, 1, 1, 1)
            at = at + units * step[some, axis].view(-1, 1, 1, 1, 1)
            at = at + moves[some, 1 - axis, :, :, None, None]
            places.append(at.expand(-1, *output_size, high, wide).flatten(1, 2))
        y, x = (at.flatten(2) for at in places)
        pooled = pooled.index_copy(0, some, mean_of_samples(image, rois[some], y, x))
    return pooled.unflatten(2, output_size)


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the pooled RoIs; an empty `offset` moves nothing."""
    moves = offset if offset.numel() else None
    bins, options = (pooled_height, pooled_width), (sampling_ratio, gamma)
    output.copy_(deform_roi_pool(input, rois, moves, bins, spatial_scale, *options))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of the image and of the offsets, if there are any."""
    bins, options = (pooled_height, pooled_width), (sampling_ratio, gamma)
    image = at_least_float32(input.detach()).requires_grad_()
    leaves = [image]
    if offset.numel():
        leaves.append(at_least_float32(offset.detach()).requires_grad_())
    moves = leaves[1] if offset.numel() else None
    with torch.enable_grad():
        pooled = deform_roi_pool(image, rois, moves, bins, spatial_scale, *options)
    if not pooled.requires_grad:
        return  # no RoI has a sample
    found = torch.autograd.grad(
        pooled, leaves, grad_output.to(pooled.dtype), materialize_grads=True
    )
    for buffer, value in zip((grad_input, grad_offset), found, strict=False):
        buffer.copy_(value)
