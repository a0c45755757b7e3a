"""Means of samples of images at any places: for bins of RoIs that are moved or turned.

Unlike those of RoIAlign their rows and columns do not follow from each other.
"""

from collections.abc import Iterator

from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.ops.roi_bins import two_taps
from paperzoo.ops.roi_common import equal_rows, first_pixels
from paperzoo.ops.sampling import weighted_rows
from paperzoo.utils.precision import at_least_float32

# Samples that are laid at once: bounds the memory.
_CHUNK = 1 << 19


def mean_of_samples(
    image: Float[Tensor, 'batch channels height width'],
    rois: Float[Tensor, 'rois fields'],
    y: Float[Tensor, 'rois bins samples'],
    x: Float[Tensor, 'rois bins samples'],
) -> Float[Tensor, 'rois channels bins']:
    """Return the mean of each bin's samples, in float32 at least.

    It can be differentiated for the image and the places. A place up to a pixel outside
    counts as the border, beyond that as 0.

    Args:
        image: The images.
        rois: Their first field is the index of an image.
        y: Where the samples lie, in pixels; the centre of the first pixel is 0.
        x: The same for the columns.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_samples import mean_of_samples
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> x, y = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.5, 0.5]]])
        >>> mean_of_samples(image, torch.zeros(1, 5), y, x)
        tensor([[[1.5000]]])
    """
    channels, height, width = image.shape[1:]
    table = at_least_float32(image).permute(0, 2, 3, 1).reshape(-1, channels)
    (row, of_row), (column, of_column) = two_taps(y, height), two_taps(x, width)
    first = first_pixels(rois, image.shape)[:, None, None, None, None]
    pixels = row[..., :, None] * width + column[..., None, :] + first
    weights = of_row[..., :, None] * of_column[..., None, :] / max(1, y.size(2))
    pixels, weights = (one.flatten(2).flatten(0, 1) for one in (pixels, weights))
    sums = weighted_rows(table.contiguous(), pixels, weights.to(table.dtype))
    return sums.view(*y.shape[:2], channels).transpose(1, 2)


def sampled_alike(
    samples: Int[Tensor, 'rois yx=2'], bins: int
) -> Iterator[tuple[Int[Tensor, ' some'], list[int]]]:
    """Yield RoIs whose numbers of samples are equal, not too many at once.

    Args:
        samples: In a bin of each RoI, on both axes; RoIs without any are left out.
        bins: Number of bins of a RoI.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_samples import sampled_alike
        >>> samples = torch.tensor([[2, 3], [0, 1], [2, 3]])
        >>> list(sampled_alike(samples, bins=49))
        [(tensor([0, 2]), [2, 3])]
    """
    for members, number in equal_rows(samples):
        each = bins * number[0] * number[1]
        if each > 0:
            for some in members.split(max(1, _CHUNK // each)):
                yield some, number
