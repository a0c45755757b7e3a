"""Makes Glyphs, a synthetic few-shot set of characters that nobody has ever written.

A class is a few strokes through random points. Each drawing moves the points, thickens
the strokes and turns, shears, stretches and shifts the whole. Below the root:

- `{train,val,test}.pkl`: a dict of `data` (drawings x size x size, grey, black on
  white), `labels` and `catname2label`;
- `{train,val,test}.png`: the first classes to look at, one a row;
- `spec.json`: what the set was made from.

The classes of the splits are different ones.

With `clutter`, a drawing takes a part of its image, anywhere, and single strokes of no
class surround it: who compares whole images compares mostly these.
"""

import pickle
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator

from paperzoo.data.generated import ensure_set
from paperzoo.errors import UserError

# Raise it whenever the same spec would give other files.
GENERATOR_VERSION = 1
SPLITS = ('train', 'val', 'test')
SHOWN = 40  # classes of a split
FINENESS = 4  # drawn so many times larger, then shrunk: smooth edges
LEAST_CLUTTERED = 32  # pixels
OBJECT_SHARE = 0.55  # of the side of a cluttered image
ATTEMPTS = 20  # to find a place for a stroke outside of the drawing
Points = Float[np.ndarray, '_points 2']


@dataclass(frozen=True)
class GlyphsSpec:
    """What a Glyphs set is made from.

    A class depends on the seed and its number, a drawing on its own number also; but
    where `val` and `test` begin to count depends on the number of `train` classes.

    Attributes:
        num_train: Classes of the split `train`.
        num_val: Likewise.
        num_test: Likewise.
        drawings: Of each class.
        size: Side of an image in pixels.
        seed: Of all.
        clutter: Strokes of no class in each image; with any, the drawing is smaller.

    Example:
        >>> spec = GlyphsSpec(num_train=1, num_val=1, num_test=1)
        >>> list(spec.classes())
        [('train', 0), ('val', 1), ('test', 2)]
    """

    num_train: int = 200
    num_val: int = 40
    num_test: int = 60
    drawings: int = 20
    size: int = 32
    seed: int = 0
    clutter: int = 0

    def __post_init__(self) -> None:
        if min(self.num_train, self.num_val, self.num_test, self.drawings) < 1:
            raise UserError(
                f'{self}: a split needs at least one class, a class one drawing'
            )
        if self.size < 16 or min(self.seed, self.clutter) < 0:
            raise UserError(
                f'{self}: strokes run together below size=16; neither seed nor clutter '
                'is negative'
            )
        if self.clutter and self.size < LEAST_CLUTTERED:
            raise UserError(
                f'{self}: clutter leaves a drawing too little room: use '
                f'size={LEAST_CLUTTERED} or more'
            )

    def identity(self) -> dict[str, int]:
        """Return all that the files depend on."""
        # Sets without clutter were made before there was any: their file has no word.
        known = {'generator_version': GENERATOR_VERSION, **asdict(self)}
        if not self.clutter:
            del known['clutter']
        return known

    def classes(self) -> Iterator[tuple[str, int]]:
        """Yield split and number of each class."""
        counts = (self.num_train, self.num_val, self.num_test)
        names = [s for s, n in zip(SPLITS, counts, strict=True) for _ in range(n)]
        for number, split in enumerate(names):
            yield split, number


CLUTTERED = GlyphsSpec(size=40, clutter=4)


def generate_glyphs(root: Path, spec: GlyphsSpec = GlyphsSpec()) -> Path:
    """Return `root` with the Glyphs set in it, making the set if it is not there yet.

    Args:
        root: Folder of the set.
        spec: What to make it from.

    Raises:
        UserError: If `root` holds something else or a set made from another spec, or
            cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, 'mine.txt').write_text('not a set')
        ...     try:
        ...         generate_glyphs(Path(folder))
        ...     except UserError as error:
        ...         print('is in the way of the Glyphs set' in str(error))
        True
    """
    return ensure_set(
        Path(root), 'Glyphs', spec.identity(), lambda folder: _write_set(folder, spec)
    )


def _write_set(folder: Path, spec: GlyphsSpec) -> None:
    drawn: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    for split, number in spec.classes():
        strokes = draw_class(np.random.default_rng([spec.seed, number]))
        rngs = [
            np.random.default_rng([spec.seed, number, drawing])
            for drawing in range(spec.drawings)
        ]
        drawings = [_draw(strokes, rng, spec) for rng in rngs]
        drawn[split][f'glyph_{number:04d}'] = np.stack(drawings)
    for split, classes in drawn.items():
        content = {
            'data': np.concatenate(list(classes.values())),
            'labels': np.arange(len(classes)).repeat(spec.drawings).tolist(),
            'catname2label': {name: label for label, name in enumerate(classes)},
        }
        (folder / f'{split}.pkl').write_bytes(pickle.dumps(content, protocol=4))
        rows = [np.hstack(list(own)) for own in list(classes.values())[:SHOWN]]
        _, sheet = cv2.imencode('.png', np.vstack(rows))
        (folder / f'{split}.png').write_bytes(sheet.tobytes())


def _draw(
    strokes: list[Points], rng: Generator, spec: GlyphsSpec
) -> UInt8[np.ndarray, 'size size']:
    if spec.clutter:
        return draw_cluttered(strokes, rng, spec.size, spec.clutter)
    return draw_glyph(strokes, rng, spec.size)


def draw_class(rng: Generator) -> list[Points]:
    """Return the strokes of a new class: control points in the unit square.

    Args:
        rng: To draw from.

    Example:
        >>> import numpy as np
        >>> strokes = draw_class(np.random.default_rng(0))
        >>> [stroke.shape[1] for stroke in strokes]
        [2, 2, 2]
    """
    counts = rng.integers(2, 5, int(rng.integers(2, 4)))
    points = rng.uniform(0, 1, (counts.sum(), 2))
    # All classes are about as large: a tiny tangle tells too little, and size too much.
    low, high = points.min(0), points.max(0)
    points = 0.5 + (points - (low + high) / 2) / (high - low).max()
    return np.split(points, counts.cumsum()[:-1])


def draw_glyph(
    strokes: list[Points], rng: Generator, size: int
) -> UInt8[np.ndarray, 'size size']:
    """Return one drawing of a class.

    Args:
        strokes: Of the class.
        rng: What this drawing differs by from others.
        size: Side in pixels.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> draw_glyph(draw_class(rng), rng, size=32).shape
        (32, 32)
    """
    fine = size * FINENESS
    turn = rng.normal(0, 0.15)
    shear, stretch = rng.normal(0, 0.1), np.exp(rng.normal(0, 0.1, 2))
    matrix = np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    ) @ np.array([[1, shear], [0, 1]])
    shift = 0.5 + rng.uniform(-0.06, 0.06, 2)
    width = max(1, round(fine * rng.uniform(0.04, 0.075)))
    canvas = np.full((fine, fine), 255, np.uint8)
    for stroke in strokes:
        moved = stroke + rng.normal(0, 0.035, stroke.shape)
        placed = (moved - 0.5) * 0.72 * stretch @ matrix.T + shift
        line = np.round(smooth(placed) * (fine - 1)).astype(np.int32)
        cv2.polylines(canvas, [line], False, 0, width)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def draw_cluttered(
    strokes: list[Points], rng: Generator, size: int, clutter: int
) -> UInt8[np.ndarray, 'size size']:
    """Return one drawing of a class, somewhere among strokes of no class.

    Args:
        strokes: Of the class.
        rng: What this drawing differs by from others.
        size: Side in pixels.
        clutter: Number of strokes around it; they stay outside of its square.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> draw_cluttered(draw_class(rng), rng, size=40, clutter=3).shape
        (40, 40)
    """
    image = np.full((size, size), 255, np.uint8)
    side = round(size * OBJECT_SHARE)
    top, left = rng.integers(0, size - side + 1, 2)
    image[top : top + side, left : left + side] = draw_glyph(strokes, rng, side)
    small = size // 3
    for _ in range(clutter):
        stroke = draw_glyph(draw_class(rng)[:1], rng, small)
        for _ in range(ATTEMPTS):
            y, x = rng.integers(0, size - small + 1, 2)
            if not (top - small < y < top + side and left - small < x < left + side):
                place = image[y : y + small, x : x + small]
                np.minimum(place, stroke, out=place)
                break
    return image


def smooth(points: Points, steps: int = 12) -> Float[np.ndarray, 'line 2']:
    """Return a smooth line through points (a Catmull-Rom spline).

    Args:
        points: At least two.
        steps: Pieces from one point to the next.

    Example:
        >>> import numpy as np
        >>> smooth(np.array([[0.0, 0.0], [2.0, 4.0]]), steps=2).tolist()
        [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    """
    # At its ends the line goes on as it began.
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p = np.concatenate([before[None], points, after[None]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    s = (np.arange(steps) / steps)[:, None]
    line = b + s / 2 * (
        c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a))
    )
    return np.concatenate([line.reshape(-1, 2), points[-1:]])
