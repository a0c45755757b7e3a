"""Transforms of single images, with NumPy and OpenCV only.

As mmcv's they take and return a dict with `img`, height x width x 3 (uint8, here RGB).
They draw from its `rng`, so that an episode is the same whichever process loads it.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator

from paperzoo.errors import UserError
from paperzoo.registry import TRANSFORMS
from paperzoo.utils.pixels import middle, short_side_to

Picture = UInt8[np.ndarray, '_height _width 3']
GREY = np.array([0.299, 0.587, 0.114], np.float32)


class ImageTransform(ABC):
    """A change of `img` alone."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return the dict with another `img`.

        Args:
            results: With `img` and, if the change is random, `rng`.
        """
        rng = results.get('rng') or np.random.default_rng()
        return {**results, 'img': self.change(results['img'], rng)}

    @abstractmethod
    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the changed image; the given one stays as it is.

        Args:
            img: RGB pixels.
            rng: To draw from.
        """


@TRANSFORMS.register_module()
class ImageResize(ImageTransform):
    """Resize so that the short side has a length; squares stay squares.

    Args:
        size: Of the short side.

    Example:
        >>> import numpy as np
        >>> img = np.zeros((40, 60, 3), np.uint8)
        >>> ImageResize(size=20)({'img': img})['img'].shape
        (20, 30, 3)
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the resized image."""
        return short_side_to(img, self.size)


@TRANSFORMS.register_module()
class ImageCenterCrop(ImageTransform):
    """Cut out the middle square.

    Args:
        size: Its side; at most that of the image.

    Example:
        >>> import numpy as np
        >>> img = np.zeros((40, 60, 3), np.uint8)
        >>> ImageCenterCrop(size=32)({'img': img})['img'].shape
        (32, 32, 3)
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the middle.

        Raises:
            UserError: If the image is smaller.
        """
        _check_room(self, self.size, img)
        return middle(img, self.size)


@TRANSFORMS.register_module()
class ImageRandomCrop(ImageTransform):
    """Cut out a random square of the image with a border around it.

    Args:
        size: Side of the square.
        padding: Width of the border.
        fill: Colour of the border.

    Example:
        >>> import numpy as np
        >>> img = np.zeros((32, 32, 3), np.uint8)
        >>> ImageRandomCrop(size=32, padding=4)({'img': img})['img'].shape
        (32, 32, 3)
    """

    def __init__(self, size: int, padding: int = 0, fill: int = 0) -> None:
        self.size, self.padding, self.fill = size, padding, fill

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the square.

        Raises:
            UserError: If the image and its border are smaller.
        """
        border = (self.padding, self.padding)
        wide = np.pad(img, (border, border, (0, 0)), constant_values=self.fill)
        _check_room(self, self.size, wide)
        top, left = (int(rng.integers(side - self.size + 1)) for side in wide.shape[:2])
        return wide[top : top + self.size, left : left + self.size]


@TRANSFORMS.register_module()
class ImageRandomFlip(ImageTransform):
    """Flip left and right.

    Args:
        prob: How often.

    Example:
        >>> import numpy as np
        >>> img = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
        >>> ImageRandomFlip(prob=1.0)({'img': img})['img'].tolist()
        [[[3, 4, 5], [0, 1, 2]]]
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the image or its mirror image."""
        return img[:, ::-1] if rng.random() < self.prob else img


@TRANSFORMS.register_module()
class ImageColorJitter(ImageTransform):
    """Change brightness, contrast and saturation by random factors, in any order.

    Args:
        strength: A factor is drawn from 1 - strength to 1 + strength.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> black = np.zeros((2, 2, 3), np.uint8)
        >>> ImageColorJitter(0.4)({'img': black, 'rng': rng})['img'].max()
        np.uint8(0)
    """

    def __init__(self, strength: float = 0.4) -> None:
        self.strength = strength

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the image in other colours."""
        value = img.astype(np.float32)
        factors = rng.uniform(1 - self.strength, 1 + self.strength, 3)
        for kind in rng.permutation(3):
            grey = value @ GREY
            other = (0.0, grey.mean(), grey[..., None])[kind]
            value = np.clip(other + factors[kind] * (value - other), 0, 255)
        return value.round().astype(np.uint8)


@TRANSFORMS.register_module()
class ImageRandomErasing(ImageTransform):
    """Paint over a random rectangle.

    Args:
        prob: How often.
        area: Least and greatest share of the image.
        fill: RGB colour of the rectangle; by default noise.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> black = np.zeros((8, 8, 3), np.uint8)
        >>> erase = ImageRandomErasing(prob=1.0, fill=(255, 0, 0))
        >>> bool((erase({'img': black, 'rng': rng})['img'] == [255, 0, 0]).any())
        True
    """

    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        fill: tuple[int, int, int] | None = None,
    ) -> None:
        self.prob, self.area, self.fill = prob, area, fill

    def change(self, img: Picture, rng: Generator) -> Picture:
        """Return the image, or a copy with a rectangle."""
        if rng.random() >= self.prob:
            return img
        height, width = img.shape[:2]
        pixels = height * width * rng.uniform(*self.area)
        ratio = np.exp(rng.uniform(-1, 1) * np.log(3.3))
        tall = min(height, max(1, round(np.sqrt(pixels * ratio))))
        wide = min(width, max(1, round(np.sqrt(pixels / ratio))))
        top, left = (
            int(rng.integers(height - tall + 1)),
            int(rng.integers(width - wide + 1)),
        )
        painted = img.copy()
        noise = rng.integers(0, 256, (tall, wide, 3), dtype=np.uint8)
        painted[top : top + tall, left : left + wide] = (
            noise if self.fill is None else self.fill
        )
        return painted


def _check_room(crop: ImageTransform, size: int, img: Picture) -> None:
    height, width = img.shape[:2]
    if min(height, width) < size:
        raise UserError(
            f'{type(crop).__name__}: size={size} does not fit into an image of {width} '
            f'x {height} pixels. Resize before (ImageResize), or cut out less'
        )
