"""Which uploads are looked at: whole images of common formats, not too large."""

import warnings
from pathlib import Path

from paperzoo.apis.images import ImageError, check_image_file

# Only these: Pillow hands some others, such as EPS, to programs that run them.
FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP')
# Masks of a hundred objects take a hundred times as many bytes.
MOST_PIXELS = 25_000_000


def check_upload(file: Path) -> None:
    """Refuse an upload that is no whole image, or too large a one, by its header.

    Args:
        file: The upload.

    Raises:
        ImageError: If it is damaged, of another format, or has too many pixels.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.serve.uploads import check_upload
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.jpg')
        ...     _ = file.write_text('%!PS-Adobe-3.0 EPSF-3.0')
        ...     check_upload(file)
        Traceback (most recent call last):
        paperzoo.apis.images.ImageError: 'a.jpg': it is no JPEG, PNG, BMP, TIFF or ...
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(file.name, _too_large()) from error
    except Exception as error:  # Pillow raises nearly anything for a damaged file.
        listed = f'{", ".join(FORMATS[:-1])} or {FORMATS[-1]}'
        raise ImageError(file.name, f'it is no {listed} image') from error
    if width * height > MOST_PIXELS:
        raise ImageError(file.name, f'{width} x {height} pixels: {_too_large()}')
    check_image_file(file)


def _too_large() -> str:
    return (
        f'this page takes images of up to {MOST_PIXELS // 10**6} million pixels; make '
        'it smaller, or use paperzoo predict --tile'
    )
