"""The two halves of a convolution that is computed at some places only.

Between them mmcv multiplies by the kernel. There is no gradient, as in mmcv.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def masked_columns(
    image: Float[Tensor, 'channels height width'],
    y: Int[Tensor, ' places'],
    x: Int[Tensor, ' places'],
    kernel: tuple[int, int],
    padding: tuple[int, int],
) -> Float[Tensor, 'channels_taps places']:
    """Return the window of the image at each place as a column; outside it is 0.

    Args:
        image: The image.
        y: Row of each place in the result of the convolution.
        x: Its column.
        kernel: Height and width of the window.
        padding: Rows and columns of zeros around the image.

    Example:
        >>> import torch
        >>> from paperzoo.ops.masked_conv import masked_columns
        >>> image, one = torch.tensor([[[1.0, 2], [3, 4]]]), torch.ones(1).long()
        >>> masked_columns(image, one, one, (2, 2), (1, 1)).T
        tensor([[1., 2., 3., 4.]])
    """
    padded = F.pad(image, (padding[1], padding[1], padding[0], padding[0]))
    windows = padded.unfold(1, kernel[0], 1).unfold(2, kernel[1], 1)  # a view
    return windows[:, y, x].permute(0, 2, 3, 1).flatten(0, 2)


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the window at each place; `im` holds one image."""
    places = mask_h_idx, mask_w_idx
    col.copy_(masked_columns(im[0], *places, (kernel_h, kernel_w), (pad_h, pad_w)))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write the columns to their places in the one image; the others stay."""
    im[0][:, mask_h_idx, mask_w_idx] = col
