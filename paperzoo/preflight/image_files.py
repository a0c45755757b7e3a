"""Are the images there, whole, of the stated size? A look at some, without decoding."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from os import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import BinaryIO, TypeVar

from paperzoo.data.formats.folder import image_size
from paperzoo.errors import UserError
from paperzoo.preflight.issues import Example, Issue

_LOOK_AT = 200
_TAIL = 4096
# How the formats begin that OpenCV reads without a word where they are cut off.
_JPEG, _PNG = b'\xff\xd8', b'\x89PNG'
T = TypeVar('T')
Size = tuple[int, int]


def evenly_spaced(items: Sequence[T], number: int) -> list[T]:
    """Return some items, at even distances.

    Args:
        items: All of them.
        number: How many to return, at most.

    Example:
        >>> evenly_spaced(range(10), 3)
        [0, 3, 6]
    """
    return list(items[:: max(1, len(items) // number)][:number])


def check_images(files: list[Path], key: str, look_at: int = _LOOK_AT) -> list[Issue]:
    """Return what is wrong with some images, spread over the data set.

    Args:
        files: All images.
        key: What in the config says where they are.
        look_at: How many to look at.

    Example:
        >>> (issue,) = check_images([Path('/nowhere/a.jpg')], 'train.data_prefix.img')
        >>> issue.text.partition(',')[0]
        'train.data_prefix.img: 1 of 1 images that were looked at are not there'
    """
    sample = evenly_spaced(files, look_at)
    missing = [file for file in sample if not file.is_file()]
    broken = [file for file in sample if file.is_file() and is_broken(file)]
    issues = []
    if missing:
        issues.append(
            Issue(
                f'{key}: {len(missing)} of {len(sample)} images that were looked at '
                f'are not there, such as {missing[0]}\n'
                f'  Put them there, or --cfg-options {key}=FOLDER (relative to '
                'data_root).'
            )
        )
    if broken:
        listed = '\n'.join(f'    {file}' for file in broken[:5])
        issues.append(
            Issue(
                f'{key}: {len(broken)} of {len(sample)} images that were looked at are '
                f'empty, cut off or no images:\n{listed}\n'
                '  Copy them again, or take them out of the annotations. What other '
                'programs show, and OpenCV does not read, goes as PNG.'
            )
        )
    return issues


def check_sizes(
    stated: Sequence[tuple[Path, Size]], key: str, where: str, look_at: int = _LOOK_AT
) -> list[Issue]:
    """Return an issue if images have another size than their annotations say.

    Boxes and masks lie in pixels of the stated size. Where most images disagree, all
    labels are wrong; a few are said only.

    Args:
        stated: Each image with the width and height that are stated.
        key: What in the config says where they are.
        where: What states the sizes.
        look_at: How many to look at.

    Example:
        >>> from PIL import Image
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.png')
        ...     Image.new('RGB', (20, 10)).save(file)
        ...     (issue,) = check_sizes([(file, (10, 20))], 'img', 'a.json')
        >>> issue.text.partition(' (')[0]
        'img: 1 of 1 images that were looked at have another size than a.json says'
    """
    wrong = []
    sample = evenly_spaced(stated, look_at)
    for file, said in sample:
        try:
            found = image_size(file)
        except UserError:
            continue  # missing and broken files are said elsewhere
        if found != tuple(said):
            turned = found == tuple(said)[::-1]
            worst = abs(found[0] * found[1] / max(said[0] * said[1], 1) - 1)
            hint = ', turned: EXIF orientation?' if turned else ''
            shown = (
                f'    {file}: {said[0]} x {said[1]} stated, '
                f'{found[0]} x {found[1]} (width x height) in the file{hint}'
            )
            box = (0.0, 0.0, float(said[0]), float(said[1]))
            title = f'stated {said[0]} x {said[1]}, is {found[0]} x {found[1]}'
            wrong.append((worst, shown, Example(file, box, title)))
    if not wrong:
        return []
    worst_ones = sorted(wrong, key=lambda one: one[:2], reverse=True)[:3]
    examples = '\n'.join(text for _, text, _ in worst_ones)
    return [
        Issue(
            f'{key}: {len(wrong)} of {len(sample)} images that were looked at have '
            f'another size than {where} says (their boxes and masks do not fit):\n'
            f'{examples}\n'
            '  Give the images in the size that was labelled, or correct width and '
            'height there together with the labels.',
            stops=2 * len(wrong) > len(sample),
            examples=tuple(one for _, _, one in worst_ones),
        )
    ]


def is_broken(file: Path) -> bool:
    """Return whether an image is empty, cut off, far too large, or no image at all.

    Whole JPEG and PNG files are told by their ends; what is left is decoded.

    Args:
        file: The image.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.jpg')
        ...     file.touch()
        ...     is_broken(file)
        True
    """
    try:
        with file.open('rb') as stream:
            if _oversized(stream):
                return True
            stream.seek(0)
            start = stream.read(8)
            drawn = not start.startswith(_PNG) or _has_pixels(stream)
            size = stream.seek(0, SEEK_END)
            stream.seek(max(0, size - _TAIL))
            end = stream.read()
    except OSError:
        return True
    if start.startswith(_JPEG) and b'\xff\xd9' in end:
        return False
    if start.startswith(_PNG) and b'IEND' in end:
        return not drawn
    return not start or not _decodes(file.read_bytes())


def too_large(file: Path) -> str | None:
    """Return the size of an image that nobody should decode, by its header, or None.

    Args:
        file: The image.

    Example:
        >>> from PIL import Image
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.png')
        ...     Image.new('L', (20, 10)).save(file)
        ...     too_large(file) is None
        True
    """
    try:
        with file.open('rb') as stream:
            return _oversized(stream)
    except OSError:  # Broken in another way: what decodes it says so.
        return None


def _oversized(stream: BinaryIO) -> str | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            Image.open(stream)
    except Image.DecompressionBombError as error:
        return str(error).partition(',')[0]
    except Exception:  # Broken in another way: what decodes it says so.
        pass
    return None


def _has_pixels(stream: BinaryIO) -> bool:
    """Return whether a PNG behind its signature has a chunk of image data."""
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        if kind == b'IDAT' and length:
            return True
        stream.seek(length + 4, SEEK_CUR)  # behind the chunk and its checksum
    return False


def _decodes(data: bytes) -> bool:
    import cv2
    import mmcv
    import numpy as np

    if data.startswith((_JPEG, _PNG)):
        try:
            mmcv.imfrombytes(data, flag='unchanged', backend='pillow')
        except Exception:  # Pillow raises nearly anything for a damaged file.
            return False
        return True
    # Of the other formats each reads some that the other does not: as images are read.
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return pixels is not None
    return False
