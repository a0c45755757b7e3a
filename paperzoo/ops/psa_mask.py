"""PSANet's masks: each pixel's window of attention laid onto the whole image.

The mask of a pixel covers a window of up to twice the image around it. What of it lies
on the image is the pixel's attention; the rest is left out.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# mmcv's numbers for the two kinds.
_DISTRIBUTE = 1


def psa_mask(
    mask: Float[Tensor, 'batch window height width'],
    window: tuple[int, int],
    distribute: bool = False,
) -> Float[Tensor, 'batch pixels height width']:
    """Return how much each pixel attends to each other; it can be differentiated.

    Args:
        mask: The windows of all pixels, row by row.
        window: Their height and width.
        distribute: Whether a pixel is given to the others, not collected from them:
            the two axes of pixels are exchanged.

    Example:
        >>> import torch
        >>> from paperzoo.ops.psa_mask import psa_mask
        >>> mask = torch.tensor([[1.0, 10], [2, 20], [3, 30]]).view(1, 3, 1, 2)
        >>> psa_mask(mask, window=(1, 3))[0, :, 0]  # rows: the pixel that is looked at
        tensor([[ 2., 10.],
                [ 3., 20.]])
    """
    height, width = mask.shape[2:]
    index, inside = _window_index((height, width), window, mask.device)
    found = mask.gather(1, index.expand(len(mask), -1, -1, -1)) * inside
    if distribute:
        found = found.flatten(2).mT.reshape(found.shape)
    return found


def _window_index(
    size: tuple[int, int], window: tuple[int, int], device: torch.device
) -> tuple[
    Int[Tensor, 'pixels height width'],
    Bool[Tensor, 'pixels height width'],
]:
    """Return where a target pixel lies in the window of each pixel, and whether."""
    rows, inside = [], []
    for number, wide in zip(size, window, strict=True):
        place = torch.arange(number, device=device)
        at = place[:, None] - place + (wide - 1) // 2
        rows.append(at.clamp(0, wide - 1))
        inside.append((at >= 0) & (at < wide))
    y, x = rows
    index = y[:, None, :, None] * window[1] + x[None, :, None, :]
    within = inside[0][:, None, :, None] & inside[1][None, :, None, :]
    return index.flatten(0, 1), within.flatten(0, 1)


def psamask_forward(
    input: Tensor,  # noqa: A002  mmcv's name
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the attention of all pixels."""
    output.copy_(psa_mask(input, (h_mask, w_mask), psa_type == _DISTRIBUTE))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of the windows."""
    if psa_type == _DISTRIBUTE:
        grad_output = grad_output.flatten(2).mT.reshape(grad_output.shape)
    size, window = (h_feature, w_feature), (h_mask, w_mask)
    index, inside = _window_index(size, window, grad_output.device)
    index = index.expand(len(grad_output), -1, -1, -1)
    grad_input.zero_().scatter_add_(1, index, grad_output * inside)
