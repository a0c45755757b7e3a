"""Images as tables of pixels, for the pooling of regions of interest (RoIs).

A pooled value is a sum or a maximum over pixels, the same pixels for all channels. With
one contiguous row of channels per pixel each step is one vector operation.
"""

from collections.abc import Iterator

import cv2
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.ops.memory import empty
from paperzoo.utils.precision import at_least_float32

# Numbers in a block of channels of an image: 8 MiB, of which a cache keeps most.
_BLOCK = 1 << 21
# The least channels in a block, where there are so many: a vector of the CPU.
_NARROW = 16


def index_type(shape: torch.Size) -> torch.dtype:
    """Return the shorter of the types that can number the pixels of these images.

    Args:
        shape: Shape of the batch of images.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import index_type
        >>> index_type(torch.Size([2, 256, 200, 304]))
        torch.int32
    """
    pixels = shape[0] * shape[2] * shape[3]
    return torch.int32 if pixels < 1 << 31 else torch.int64


def channel_blocks(shape: torch.Size) -> list[slice]:
    """Split the channels so that a table of a block stays small.

    Large tables cost more in fresh memory and cache misses than in arithmetic.

    Args:
        shape: Shape of the batch of images.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import channel_blocks
        >>> channel_blocks(torch.Size([2, 20, 200, 304]))
        [slice(0, 16, None), slice(16, 32, None)]
    """
    # Whole vectors: `embedding_bag` is slow at the rest of a row. Wider rows make the
    # way from and to channels first slow.
    pixels = max(shape[0] * shape[2] * shape[3], 1)
    whole = _BLOCK // pixels // _NARROW * _NARROW
    width = min(max(_NARROW, whole), 4 * _NARROW)
    return [slice(n, n + width) for n in range(0, shape[1], width)]


def transpose(
    matrix: Float[Tensor, 'rows columns'], into: Float[Tensor, 'columns rows']
) -> None:
    """Write the transpose of a matrix; on a CPU OpenCV takes a quarter of torch's time.

    Args:
        matrix: What to transpose.
        into: Contiguous rows; both of them float32 or float64.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import transpose
        >>> transpose(torch.tensor([[1.0, 2]]), into := torch.empty(2, 1))
        >>> into.tolist()
        [[1.0], [2.0]]
    """
    if into.device.type == 'cpu' and into.numel() > 0:
        # OpenCV moves eight rows at a time faster than sixteen.
        step = 8 if len(matrix) == _NARROW else max(matrix.shape)
        for rows, columns in zip(matrix.split(step), into.split(step, 1), strict=True):
            cv2.transpose(rows.detach().numpy(), columns.numpy())
    else:
        into.copy_(matrix.t())


def tables(
    image: Float[Tensor, 'batch channels height width'],
) -> Iterator[tuple[slice, Float[Tensor, 'pixels block_channels']]]:
    """Yield blocks of channels with one contiguous row of these for each pixel.

    A table is valid until the next one: they share their memory, because fresh memory
    costs more than filling it.

    Args:
        image: The batch of images; half precision comes out as float32.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import tables
        >>> ((block, table),) = tables(torch.tensor([[[[1.0, 2]], [[3, 4]]]]))
        >>> block, table[0].tolist(), table.shape
        (slice(0, 64, None), [1.0, 3.0], torch.Size([2, 2]))
    """
    image = at_least_float32(image)
    if image.permute(0, 2, 3, 1).is_contiguous():  # channels_last: nothing is moved
        yield slice(None), image.permute(0, 2, 3, 1).flatten(0, 2)
        return
    planes = image.flatten(2)
    memory: Tensor | None = None
    for block in channel_blocks(image.shape):
        part = planes[:, block]
        if memory is None or memory.size(2) != part.size(1):
            memory = empty(part, len(part), part.size(2), part.size(1))
        for matrix, into in zip(part, memory, strict=True):
            transpose(matrix, into)
        yield block, memory.flatten(0, 1)


def add_rows(
    rows: Float[Tensor, 'pixels channels'],
    planes: Float[Tensor, 'batch channels image_pixels'],
    zero: bool,
) -> None:
    """Add a table of pixels to the planes of images.

    Args:
        rows: The pixels of one image after another.
        planes: What is added to.
        zero: Whether it is known that the planes are 0.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import add_rows
        >>> add_rows(torch.tensor([[5.0], [6]]), planes := torch.ones(1, 1, 2), False)
        >>> planes
        tensor([[[6., 7.]]])
    """
    parts = rows.view(len(planes), -1, rows.size(1))
    direct = zero and planes.dtype == rows.dtype
    for into, part in zip(planes, parts, strict=True):
        turned = into if direct else rows.new_empty(into.shape)
        transpose(part, turned)
        if not direct:
            into.add_(turned)


def first_pixels(
    rois: Float[Tensor, 'rois fields'], shape: torch.Size
) -> Int[Tensor, ' rois']:
    """Return the number of the first pixel of each RoI's image.

    Args:
        rois: Image index, then what it takes to say where a RoI lies.
        shape: Shape of the batch of images.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import first_pixels
        >>> first_pixels(torch.tensor([[1.0, 0, 0, 9, 9]]), torch.Size([2, 3, 4, 5]))
        tensor([20])
    """
    return rois[:, 0].long() * (shape[2] * shape[3])


def check_rois(op: str, rois: Float[Tensor, 'rois 5'], shape: torch.Size) -> None:
    """Check the RoIs of an operator.

    On a GPU a look at the RoIs would stop the host until the device is done: there only
    the shape of the images is checked.

    Args:
        op: Its name, for the message.
        rois: Image index, left, top, right and bottom edge.
        shape: Shape of the batch of images.

    Raises:
        UserError: If there are RoIs but the images have no pixels, or if a RoI is not
            finite or of no image.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import check_rois
        >>> check_rois('roi_pool', torch.zeros(1, 5), torch.Size([1, 3, 4, 5]))
    """
    batch, _, height, width = shape
    if len(rois) > 0 and height * width == 0:
        raise UserError(
            f'{op}: the images have {height} x {width} pixels, and there are '
            f'{len(rois)} RoIs on them. Make the images larger or pass no RoI.'
        )
    if rois.is_cuda:
        return
    finite = rois.isfinite().all(dim=1)
    index = rois[:, 0].nan_to_num(-1).trunc()
    bad = ~(finite & (index >= 0) & (index < batch))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise UserError(
            f'{op}: rois[{row}] is {rois[row].tolist()}; a RoI is (image index, left, '
            f'top, right, bottom), all finite, and the index is below {batch}, the '
            f'number of images. Correct the boxes or the index in front of them.'
        )


def equal_rows(
    table: Int[Tensor, 'rois columns'],
) -> Iterator[tuple[Int[Tensor, ' equal'], list[int]]]:
    """Yield each different row of a table with the places where it stands.

    How many there are decides what is computed next: on a GPU the host waits here.

    Args:
        table: Whole numbers.

    Example:
        >>> import torch
        >>> from paperzoo.ops.roi_common import equal_rows
        >>> list(equal_rows(torch.tensor([[3, 4], [1, 1], [3, 4]])))
        [(tensor([1]), [1, 1]), (tensor([0, 2]), [3, 4])]
    """
    if len(table) == 0:
        return
    # One number for each row: `unique` of whole rows is many times slower.
    owner = torch.zeros_like(table[:, 0])
    for column in table.unbind(dim=1):
        index = column.unique(return_inverse=True)[1]
        owner = owner * (index.max() + 1) + index
    owner, counts = owner.unique(return_inverse=True, return_counts=True)[1:]
    groups = owner.argsort(stable=True).split(counts.tolist())
    firsts = table[torch.stack([group[0] for group in groups])]
    yield from zip(groups, firsts.tolist(), strict=True)
