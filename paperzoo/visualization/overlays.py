"""Pictures of records (see `paperzoo.evaluation.results`), and pages of pictures."""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.utils.colours import Colour
from paperzoo.utils.files import write_safely
from paperzoo.utils.masks import Record, decode
from paperzoo.visualization.text import put_text, text_size

# (H, W, 3), BGR, 0 to 255; OpenCV's types say less.
Picture = NDArray[Any]
GOLDEN = 0.618034


def color_of(label: int, palette: Sequence[Colour] | None = None) -> Colour:
    """Return the colour of a class, BGR: neighbours differ, every run gives the same.

    Args:
        label: Index of the class.
        palette: The classes' own colours, RGB.

    Example:
        >>> from paperzoo.visualization.overlays import color_of
        >>> color_of(0)
        (38, 38, 255)
    """
    if palette and label < len(palette):
        own = palette[label]
        return own[2], own[1], own[0]
    # Steps of the golden ratio spread any number of hues.
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw(
    image: Picture,
    records: Sequence[Record],
    alpha: float = 0.45,
    *,
    palette: Sequence[Colour] | None = None,
) -> Picture:
    """Return the image with records drawn over it.

    Args:
        image: BGR, (H, W, 3); stays as it is.
        records: What to draw; those with a segmentation of another size than the image
            are refused.
        alpha: Opacity of the masks.
        palette: The classes' own colours, RGB.

    Raises:
        ValueError: If a mask has another size than the image.

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.overlays import draw
        >>> box = {'category_id': 0, 'category': 'cat', 'bbox': [2, 20, 30, 30]}
        >>> image = np.zeros((60, 60, 3), np.uint8)
        >>> draw(image, [box])[50, 10].tolist(), int(image.max())
        ([38, 38, 255], 0)
    """
    picture = image.copy()
    # Large ones first, or they would hide the small ones.
    by_size = sorted(records, key=_size, reverse=True)
    for record in by_size:
        if 'segmentation' in record:
            _draw_mask(picture, record, alpha, palette)
    for record in by_size:
        _draw_box(picture, record, palette)
    for record in by_size:
        _draw_label(picture, record)
    return picture


def _draw_mask(
    picture: Picture,
    record: Record,
    alpha: float,
    palette: Sequence[Colour] | None,
) -> None:
    mask = decode(record)
    if mask.shape != picture.shape[:2]:
        raise ValueError(f'a mask of {mask.shape} on a picture of {picture.shape[:2]}')
    color = np.array(color_of(record['category_id'], palette))
    picture[mask] = ((1 - alpha) * picture[mask] + alpha * color).astype(np.uint8)
    outline, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(picture, outline, -1, color.tolist(), 1)


def _draw_box(
    picture: Picture, record: Record, palette: Sequence[Colour] | None
) -> None:
    if 'segmentation' in record or 'bbox' not in record:
        return
    x, y, width, height = record['bbox']
    start, end = (round(x), round(y)), (round(x + width), round(y + height))
    thickness = 1 if record.get('ignored') else 2
    color = color_of(record['category_id'], palette)
    cv2.rectangle(picture, start, end, color, thickness)


def _draw_label(picture: Picture, record: Record) -> None:
    if 'bbox' not in record:
        return
    text = record['category']
    if record.get('ignored'):
        text += ' (ignored)'
    if 'score' in record:
        text += f' {record["score"]:.2f}'
    (width, height), below = text_size(text, 0.4)
    x, y = round(record['bbox'][0]), round(record['bbox'][1])
    if 'segmentation' in record:
        x, y = deepest(decode(record))
        x, y = x - width // 2, y + height // 2
    x = min(max(x, 0), max(picture.shape[1] - width, 0))
    y = min(max(y, height), picture.shape[0] - below)
    cv2.rectangle(picture, (x, y - height), (x + width, y + below), (0, 0, 0), -1)
    put_text(picture, text, (x, y), 0.4, (255, 255, 255))


def deepest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return x and y of the pixel of a mask that is farthest from its edge.

    Args:
        mask: (H, W), not empty.

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.overlays import deepest
        >>> deepest(np.ones((5, 7), bool))[1]
        2
    """
    # The image's border is an edge too.
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x) - 1, int(y) - 1


def _size(record: Record) -> float:
    width, height = record.get('bbox', [0, 0, 0, 0])[2:]
    return float(width * height)


def beside(*pictures: Picture) -> Picture:
    """Return pictures of one height beside each other.

    Args:
        pictures: Each (H, W_i, 3).

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.overlays import beside
        >>> beside(np.zeros((2, 3, 3)), np.zeros((2, 4, 3))).shape
        (2, 7, 3)
    """
    return np.concatenate(pictures, axis=1)


def titled(picture: Picture, title: str | Sequence[str], width: int) -> Picture:
    """Return a picture scaled to a width, with a title above it.

    Args:
        picture: BGR, (H, W, 3).
        title: One line; or several, side by side in equal parts of the width.
        width: In pixels.

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.overlays import titled
        >>> titled(np.zeros((30, 40, 3), np.uint8), 'a title', 80).shape
        (82, 80, 3)
    """
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    small = cv2.resize(picture, (width, height), interpolation=how)
    head = np.full((22, width, 3), 255, np.uint8)
    lines = [title] if isinstance(title, str) else title
    for number, line in enumerate(lines):
        # Names of files need not be UTF-8, which fonts want.
        line = line.encode('utf-8', 'replace').decode()
        place = (6 + number * width // len(lines), 16)
        put_text(head, line, place, 0.45, (0, 0, 0))
    return np.concatenate([head, small])


def write_picture(file: Path, picture: Picture) -> Path:
    """Write a picture, in the format that the file's name ends in.

    Args:
        file: Where to write; an earlier file is replaced.
        picture: BGR, (H, W, 3).

    Raises:
        UserError: If the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.visualization.overlays import write_picture
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'new', 'a.png')
        ...     write_picture(file, np.zeros((2, 2, 3), np.uint8)).is_file()
        True
    """
    # Unlike cv2.imwrite, this does not pass over a failure in silence.
    try:
        _, data = cv2.imencode(file.suffix, picture)
    except cv2.error as error:
        raise UserError(f"'{file}' cannot be written: {error.err}") from error
    write_safely(file, lambda stream: stream.write(data.tobytes()))
    return file


def write_page(
    file: Path, pictures: Sequence[tuple[str, Picture]], *, columns: int, width: int
) -> Path:
    """Write titled pictures as one page.

    Args:
        file: Where to write.
        pictures: Titles and pictures.
        columns: Pictures per row.
        width: Of each picture, in pixels.

    Raises:
        UserError: If the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.visualization.overlays import write_page
        >>> grey = np.zeros((3, 4, 3), np.uint8)
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'page.png')
        ...     write_page(file, [('one', grey)], columns=2, width=40).is_file()
        True
    """
    small = [titled(picture, title, width) for title, picture in pictures]
    return write_picture(file, make_grid(small, min(columns, len(small))))


def make_grid(pictures: list[np.ndarray], columns: int, gap: int = 8) -> np.ndarray:
    """Return one picture with the given ones in rows, on white.

    Args:
        pictures: BGR images of one width, each (H_i, W, 3), uint8.
        columns: Pictures per row.
        gap: White pixels around each.

    Example:
        >>> import numpy as np
        >>> from paperzoo.visualization.overlays import make_grid
        >>> make_grid([np.zeros((10, 20, 3), np.uint8)] * 3, columns=2).shape
        (36, 64, 3)
    """
    width = pictures[0].shape[1]
    rows = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        height = max(picture.shape[0] for picture in row)
        canvas = np.full(
            (height + gap, columns * (width + gap) + gap, 3), 255, np.uint8
        )
        for column, picture in enumerate(row):
            left = gap + column * (width + gap)
            canvas[gap : gap + picture.shape[0], left : left + width] = picture
        rows.append(canvas)
    return np.concatenate(rows)
