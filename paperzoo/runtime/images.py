"""Images as an exported file wants them: resized and padded as its card says."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.runtime.card import Card

Size = tuple[int, int]


class Prepared(NamedTuple):
    """What goes into a file.

    Attributes:
        images: (1, 3, H, W), uint8, BGR, padded with zeros.
        image_size: Height and width of the image in it.
        result_size: Height and width of the image as it was, which results get.
    """

    images: NDArray[np.uint8]
    image_size: NDArray[np.int64]
    result_size: NDArray[np.int64]


def fitted(size: Size, card: Card) -> Size:
    """Return the width and height to which an image is resized.

    Args:
        size: Its width and height.
        card: Of the file.

    Raises:
        UserError: If the image would be empty, or larger than the file's input.

    Example:
        >>> from paperzoo.runtime.card import Card
        >>> from paperzoo.runtime.images import fitted
        >>> card = Card(task='detection', model='FCOS', classes=(), scale=(256, 192))
        >>> fitted((640, 320), card), fitted((320, 640), card)
        ((256, 128), (128, 256))
    """
    width, height = size
    if card.scale is not None and not card.keep_ratio:
        width, height = card.scale
    elif card.scale is not None:
        # As mmcv's rescale_size: the long side within the long one, short in short.
        factor = min(max(card.scale) / max(size), min(card.scale) / min(size))
        width, height = _scaled(size, factor)
    if card.size is not None and (width > card.size[0] or height > card.size[1]):
        # Of a fixed input: an upright image in a lying one becomes smaller still.
        if card.scale is None or not card.keep_ratio:
            raise UserError(
                f'an image of {width} x {height} pixels does not fit into the file, '
                f'which takes {card.size[0]} x {card.size[1]}: export with --dynamic, '
                'or resize it'
            )
        warnings.warn(
            f'the file takes {card.size[0]} x {card.size[1]} pixels: an image of '
            'another shape is made smaller than its model sees it, and the results '
            'differ. Export with --dynamic for images of any shape',
            stacklevel=2,
        )
        factor = min(card.size[0] / size[0], card.size[1] / size[1])
        width, height = _scaled(size, factor)
    if min(width, height) < 1:
        raise UserError(
            f'an image of {size[0]} x {size[1]} pixels would be resized to {width} x '
            f'{height}: it is too narrow'
        )
    return width, height


def _scaled(size: Size, factor: float) -> Size:
    width, height = (int(side * float(factor) + 0.5) for side in size)
    return width, height


def prepare(image: NDArray[np.uint8], card: Card) -> Prepared:
    """Return what goes into a file for an image.

    Args:
        image: (H, W, 3) in BGR.
        card: Of the file.

    Raises:
        UserError: If the image cannot be resized or does not fit into the file.

    Example:
        >>> import numpy as np
        >>> from paperzoo.runtime.card import Card
        >>> from paperzoo.runtime.images import prepare
        >>> card = Card(task='detection', model='FCOS', classes=(), divisor=32)
        >>> made = prepare(np.zeros((40, 64, 3), np.uint8), card)
        >>> made.images.shape, made.image_size.tolist()
        ((1, 3, 64, 64), [40, 64])
    """
    import cv2

    height, width = image.shape[:2]
    new = fitted((width, height), card)
    resized = image
    if new != (width, height) or card.scale is not None:
        flags = {
            'nearest': cv2.INTER_NEAREST,
            'bilinear': cv2.INTER_LINEAR,
            'bicubic': cv2.INTER_CUBIC,
            'area': cv2.INTER_AREA,
            'lanczos': cv2.INTER_LANCZOS4,
        }
        how = flags[card.interpolation]
        resized = np.asarray(cv2.resize(image, new, interpolation=how), np.uint8)
    if card.size is not None:
        padded = card.size
    else:
        padded = (padded_side(new[0], card.divisor), padded_side(new[1], card.divisor))
    images = np.zeros((1, 3, padded[1], padded[0]), np.uint8)
    images[0, :, : new[1], : new[0]] = resized.transpose(2, 0, 1)
    return Prepared(
        images,
        np.array([new[1], new[0]], np.int64),
        np.array([height, width], np.int64),
    )


# What few-shot files do to images before they are embedded, by name.
STEPS = ('short_side', 'middle')


def embedded_pixels(image: NDArray[np.uint8], card: Card) -> NDArray[np.float32]:
    """Return what goes into the embedding file of a few-shot classifier.

    Args:
        image: (H, W, 3) in BGR.
        card: Of the file; its `settings` have the `steps`, each a name of `STEPS` and a
            length in pixels.

    Returns:
        (3, H, W) in RGB.

    Raises:
        UserError: If the image does not become one of the size that the file takes.

    Example:
        >>> import numpy as np
        >>> from paperzoo.runtime.card import Card
        >>> from paperzoo.runtime.images import embedded_pixels
        >>> steps = {'steps': [('short_side', 28)]}
        >>> card = Card(task='few-shot', model='ProtoNet', classes=(), settings=steps)
        >>> embedded_pixels(np.zeros((60, 60, 3), np.uint8), card).shape
        (3, 28, 28)
    """
    from paperzoo.utils.pixels import middle, short_side_to

    changes = {'short_side': short_side_to, 'middle': middle}
    made = np.ascontiguousarray(image[..., ::-1])
    for name, length in card.settings['steps']:
        made = changes[name](made, length)
    height, width = made.shape[:2]
    if card.size is not None and (width, height) != card.size:
        raise UserError(
            f'an image of {image.shape[1]} x {image.shape[0]} pixels becomes one of '
            f'{width} x {height}, and the file takes {card.size[0]} x {card.size[1]} '
            'only: cut it to the same shape'
        )
    return made.transpose(2, 0, 1).astype(np.float32)


def padded_side(side: int, divisor: int) -> int:
    """Return the smallest multiple of a divisor that a side fits into.

    Args:
        side: In pixels.
        divisor: Of padded sides.

    Example:
        >>> from paperzoo.runtime.images import padded_side
        >>> padded_side(40, 32), padded_side(64, 32)
        (64, 64)
    """
    return -(-side // divisor) * divisor
