"""RoIAlign of rotated regions: the grid of samples is turned around the centre."""

# mmcv's argument names are part of the interface.
# ruff: noqa: A002

import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.ops.roi_bins import RoIGrid, sample_positions, samples_of
from paperzoo.ops.roi_common import check_rois
from paperzoo.ops.roi_samples import mean_of_samples, sampled_alike
from paperzoo.utils.precision import at_least_float32


def roi_align_rotated(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois 6'],
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Float[Tensor, 'rois channels bins_y bins_x']:
    """Return the mean of bilinear samples in each bin of each rotated RoI.

    It can be differentiated for the image; half precision comes back as float32.

    Args:
        image: The batch of images.
        rois: Image index, centre (x, y), width, height, and angle in radians.
        output_size: Number of bins on both axes.
        spatial_scale: Size of the image to that of what the RoIs are measured in.
        sampling_ratio: Samples in a bin on each axis; 0 or less is about one per pixel.
        aligned: Whether the centre of the first pixel is at (0.5, 0.5), else (0, 0) and
            a RoI is at least a pixel wide and high.
        clockwise: Whether the angle turns the x axis to the y axis.

    Raises:
        UserError: If there are RoIs but the images have no pixels. On a CPU also if a
            RoI is not finite, of no image or, if aligned, of negative size.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_align_rotated import roi_align_rotated
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi = torch.tensor([[0.0, 2, 2, 4, 4, torch.pi / 2]])
        >>> roi_align_rotated(image, roi, (2, 2), 1.0, clockwise=True)[0, 0]
        tensor([[ 4.5000, 12.5000],
                [ 2.5000, 10.5000]])
    """
    check_rois('roi_align_rotated', rois[:, :5], image.shape)
    image = at_least_float32(image)
    rois = rois.to(image.dtype)
    centre = rois[:, [2, 1]] * spatial_scale - 0.5 * aligned
    size = rois[:, [4, 3]] * spatial_scale
    _check_sizes(rois, aligned)
    if not aligned:
        size = size.clamp(min=1)
    angle = rois[:, 5] if clockwise else -rois[:, 5]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    step = size / size.new_tensor(output_size)
    grid = RoIGrid(output_size, spatial_scale, max(0, sampling_ratio), aligned)
    samples = samples_of(step, grid)
    bins = output_size[0] * output_size[1]
    pooled = image.new_zeros(len(rois), image.size(1), bins)
    for some, number in sampled_alike(samples, bins):
        taken = -size[some] / 2, step[some], samples[some]
        places = sample_positions(*taken, (max(output_size), max(number)))
        high = places[:, 0, : output_size[0], : number[0]]
        wide = places[:, 1, : output_size[1], : number[1]]
        shape = (len(some), *output_size, *number)
        down = high[:, :, None, :, None].expand(shape).reshape(len(some), bins, -1)
        right = wide[:, None, :, None, :].expand(shape).reshape(len(some), bins, -1)
        y = down * cos[some] + right * sin[some] + centre[some, 0, None, None]
        x = right * cos[some] - down * sin[some] + centre[some, 1, None, None]
        pooled = pooled.index_copy(0, some, mean_of_samples(image, rois[some], y, x))
    return pooled.unflatten(2, output_size)


def _check_sizes(rois: Float[Tensor, 'rois 6'], aligned: bool) -> None:
    """Raise where mmcv does: for negative sizes, on a CPU, if aligned."""
    if aligned and not rois.is_cuda and (rois[:, 3:5] < 0).any():
        row = int((rois[:, 3:5] < 0).any(dim=1).nonzero()[0])
        raise UserError(
            f'roi_align_rotated: rois[{row}] is {rois[row].tolist()}: its width or '
            'height is negative, which aligned=True does not allow: correct the boxes '
            '(image index, centre, width, height, angle).'
        )


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Write the pooled RoIs."""
    bins, options = (pooled_height, pooled_width), (sampling_ratio, aligned, clockwise)
    output.copy_(roi_align_rotated(input, rois, bins, spatial_scale, *options))


def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Write the gradient of the image."""
    bins, options = (pooled_height, pooled_width), (sampling_ratio, aligned, clockwise)
    # The mean is linear in the image: the gradient is the same at any image.
    image = torch.zeros_like(at_least_float32(grad_input)).requires_grad_()
    with torch.enable_grad():
        pooled = roi_align_rotated(image, rois, bins, spatial_scale, *options)
    if pooled.requires_grad:
        (found,) = torch.autograd.grad(pooled, image, grad_output.to(pooled.dtype))
        grad_input.copy_(found)
