"""Images however they are given: files, URLs, PIL images, arrays."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError

if TYPE_CHECKING:
    import PIL.Image

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
# A text for `PIL.Image.Image`, so that nobody has to import it.
Image: TypeAlias = Union[str, Path, NDArray[np.uint8], 'PIL.Image.Image']
# What models of sequences are called with: tokens, or vectors in an array.
Tokens: TypeAlias = Sequence[int] | NDArray[Any]
# Of what a URL may hold, and how long to wait for its server.
MOST_BYTES = 64 * 2**20
PATIENCE = 20.0


class ImageError(UserError):
    """An image that no model can take.

    Args:
        image: Which one.
        reason: What is wrong with it.
    """

    def __init__(self, image: str | Path, reason: str) -> None:
        super().__init__(f"'{image}': {reason}")
        self.reason = reason


def is_url(image: Any) -> bool:
    """Return whether an image is given by its address.

    Example:
        >>> from paperzoo.apis.images import is_url
        >>> is_url('https://example.org/a.jpg'), is_url('a.jpg')
        (True, False)
    """
    return isinstance(image, str) and image.lower().startswith(('http://', 'https://'))


def file_of(image: Any) -> Path | None:
    """Return the file that an image is given by, or None for anything else.

    Example:
        >>> from paperzoo.apis.images import file_of
        >>> file_of('a.jpg'), file_of('https://example.org/a.jpg')
        (PosixPath('a.jpg'), None)
    """
    if isinstance(image, str | Path) and not is_url(image):
        return Path(os.path.expanduser(image))
    return None


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """Return an image as pixels, (H, W, 3), BGR.

    Args:
        image: A file, a URL, a PIL image or an array (H, W, 3) of uint8 in BGR.

    Raises:
        ImageError: If the file is not there or damaged, the URL gives no image or too
            large a one, or the array has another shape or type.

    Example:
        >>> from PIL import Image
        >>> from paperzoo.apis.images import pixels_of
        >>> pixels_of(Image.new('RGB', (2, 1), (255, 0, 0))).tolist()
        [[[0, 0, 255], [0, 0, 255]]]
    """
    if is_url(image):
        return _decoded(fetch(image), image)
    file = file_of(image)
    if file is not None:
        check_image_file(file)
        return _decoded(file.read_bytes(), str(file))
    if type(image).__module__.partition('.')[0] == 'PIL' or hasattr(image, 'getexif'):
        from PIL import Image, ImageOps

        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith('I;16'):
            # As OpenCV reads such a file; Pillow would cut off all above 255.
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode in ('I', 'F'):
            check_array(np.asarray(upright))
        return np.ascontiguousarray(np.asarray(upright.convert('RGB'))[..., ::-1])
    check_array(image)
    return image.copy()  # a result keeps it, and a video's next frame may overwrite it


def fetch(url: str, most: int | None = None, patience: float | None = None) -> bytes:
    """Return what a URL holds.

    Args:
        url: Of http or https.
        most: Bytes, at most; by default 64 MB.
        patience: Seconds without an answer, at most; by default 20.

    Raises:
        ImageError: If there is no answer in time, or a larger one.

    Example:
        >>> from paperzoo.apis.images import fetch
        >>> fetch('http://127.0.0.1:9/a.jpg')
        Traceback (most recent call last):
        paperzoo.apis.images.ImageError: 'http://127.0.0.1:9/a.jpg': ... refused...
    """
    import urllib.request  # takes half as long as OpenCV, and few images are URLs

    most = MOST_BYTES if most is None else most
    try:
        with urllib.request.urlopen(
            url, timeout=PATIENCE if patience is None else patience
        ) as answer:
            content = answer.read(most + 1)
    except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
        raise ImageError(url, f'no answer: {error}') from error
    if len(content) > most:
        raise ImageError(url, f'it holds more than {most / 2**20:g} MB')
    return content


def _decoded(content: bytes, name: str) -> NDArray[np.uint8]:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # too large, or nothing at all
        raise ImageError(name, f'it cannot be decoded: {error.err}') from error
    if pixels is None:
        raise ImageError(name, 'it is no image')
    return pixels.astype(np.uint8, copy=False)


def check_image_file(file: Path) -> None:
    """Refuse a file that is not there or no whole image.

    Args:
        file: The file.

    Raises:
        ImageError: If the file is not there, is empty or cut off, or is no image.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.apis.images import check_image_file
        >>> check_image_file(Path('no_such.jpg'))
        Traceback (most recent call last):
        paperzoo.apis.images.ImageError: 'no_such.jpg': there is no such file
    """
    from paperzoo.preflight.image_files import is_broken, too_large

    if not os.path.lexists(file):
        raise ImageError(file, 'there is no such file')
    # A pipe would be waited for, for ever.
    if not file.is_file():
        raise ImageError(file, 'it is no regular file')
    # OpenCV would draw the missing part grey.
    if is_broken(file):
        raise ImageError(file, too_large(file) or 'empty, cut off or no image')


def reason_of(error: Exception) -> str:
    """Return in one line why an image gave no result.

    Args:
        error: What reading it, its pipeline or the model has raised.

    Example:
        >>> from paperzoo.apis.images import reason_of
        >>> reason_of(ValueError('height is 0'))
        'ValueError: height is 0'
    """
    if isinstance(error, ImageError):
        return error.reason
    text = ' '.join(str(error).split())[:300]
    if isinstance(error, UserError):
        return text
    return f'{type(error).__name__}: {text}'.removesuffix(': ')


def check_array(image: Any) -> None:
    """Refuse what is no array (H, W, 3) of uint8.

    Args:
        image: What was given as an image.

    Raises:
        ImageError: If the array has another shape or type; the message says how to make
            a fitting one of it.

    Example:
        >>> import numpy as np
        >>> from paperzoo.apis.images import check_array
        >>> check_array(np.zeros((4, 4), np.uint8))
        Traceback (most recent call last):
        paperzoo.apis.images.ImageError: 'array': it is (4, 4), not (H, W, 3). ...
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            type(image).__name__,
            'give a file, a URL, a PIL image, an array (H, W, 3) of uint8 in BGR, or '
            'several of those',
        )
    shape, wanted = image.shape, '(H, W, 3)'
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        remedy = ''
        if len(shape) == 2:
            remedy = '. A grey one: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)'
        elif len(shape) == 3 and shape[2] == 4:
            remedy = '. Without its alpha: image[..., :3]'
        elif len(shape) == 3 and shape[0] == 3:
            remedy = '. Channels last: image.transpose(1, 2, 0)'
        raise ImageError('array', f'it is {shape}, not {wanted}{remedy}')
    if image.dtype != np.uint8:
        raise ImageError(
            'array',
            f'it is of {image.dtype}, not uint8. From 0 to 1: '
            '(255 * image).round().astype(numpy.uint8)',
        )


def find_inputs(given: Sequence[str]) -> list[Path | str]:
    """Return images, videos and addresses, in the order in which they are given.

    Args:
        given: Addresses, and what `find_images` takes.

    Raises:
        UserError: If one of the files, folders and globs names nothing.

    Example:
        >>> from paperzoo.apis.images import find_inputs
        >>> find_inputs(['https://example.org/a.jpg'])
        ['https://example.org/a.jpg']
    """
    found: list[Path | str] = []
    for one in given:
        found += [one] if is_url(one) else find_images([one], (*ENDINGS, *VIDEOS))
    return list(dict.fromkeys(found))


def find_images(given: Sequence[str], endings: Sequence[str] = ENDINGS) -> list[Path]:
    """Return the image files that files, folders and globs name, each once.

    Args:
        given: Files, folders (searched to the bottom) and globs.
        endings: Of the files that are taken from a folder.

    Raises:
        UserError: If one of the files, folders and globs names no image.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.images import find_images
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, 'a.png').touch()
        ...     [file.name for file in find_images([folder, f'{folder}/*.png'])]
        ['a.png']
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(os.path.expanduser(name))
        # What is there, but no image, is told with the results, not before.
        if path.is_dir():
            files = sorted(p for p in path.rglob('*') if p.suffix.lower() in endings)
        elif os.path.lexists(path):
            files = [path]
        else:
            files = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        files = [file for file in files if not file.is_dir()]
        if not files:
            raise UserError(
                f"'{name}' is no image, no folder with images ({', '.join(ENDINGS)}) "
                'and no glob that matches one'
            )
        found.update(dict.fromkeys(files))
    return list(found)
