"""Draws one scene of the Shapes set: textured ground, overlapping silhouettes.

Colour, fill and size are drawn independently of the kind, so only the silhouette tells
what an object is; in the same way only the texture tells one ground from another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Int64, UInt8
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = UInt8[np.ndarray, 'height width']
Position = tuple[int, int]

THING_CLASSES = ('circle', 'rectangle', 'triangle', 'star', 'cross', 'ring', 'frame')
STUFF_CLASSES = ('grass', 'brick', 'water')
# Of the classes, where they are drawn over an image.
THING_COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
)
STUFF_COLOURS = ((128, 128, 128), (170, 110, 40), (0, 128, 128))

MAX_OBJECTS = 8
SIDE_RANGE = (16.0, 128.0)  # sqrt(area) in pixels
MIN_VISIBLE_FRACTION = 0.4
MIN_VISIBLE_AREA = 64
# Enough that more than a quarter of the objects are more than 20 % hidden.
OVERLAP_PROBABILITY = 0.38
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Scene:
    """An image with everything known about it.

    Attributes:
        image: RGB.
        objects: Index of the visible object in drawing order, -1 on the ground.
        stuff: Index into `STUFF_CLASSES` of the ground, also beneath the objects.
        kinds: Index into `THING_CLASSES`, one per object.
        full_areas: Pixels of each object before later ones hid a part of it.
    """

    image: UInt8[np.ndarray, 'height width 3']
    objects: Int64[np.ndarray, 'height width']
    stuff: Int64[np.ndarray, 'height width']
    kinds: list[int]
    full_areas: list[int]


def draw_scene(rng: Generator, width: int, height: int) -> Scene:
    """Return a random scene; all its randomness comes from `rng`.

    Example:
        >>> import numpy as np
        >>> scene = draw_scene(np.random.default_rng(0), width=320, height=240)
        >>> scene.image.shape, scene.objects.shape
        ((240, 320, 3), (240, 320))
    """
    image, stuff = _ground(rng, width, height)
    canvas = _Canvas(height, width)
    kinds = []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        kind = int(rng.integers(len(THING_CLASSES)))
        log_side = rng.uniform(*np.log(SIDE_RANGE))
        alpha = silhouette(THING_CLASSES[kind], float(np.exp(log_side)), rng)
        position = canvas.find_place(alpha >= 128, rng)
        if position is None:
            continue
        canvas.put(alpha >= 128, position)
        _paint(image, alpha, position, rng)
        kinds.append(kind)
    image += 2.5 * rng.standard_normal((height, width, 1), dtype=np.float32)
    pixels = np.rint(np.clip(image, 0, 255, out=image)).astype(np.uint8)
    return Scene(pixels, canvas.objects, stuff, kinds, canvas.full_areas)


def _arc(radius: float, start: float, stop: float) -> Array:
    angle = np.linspace(start, stop, 96, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32) * radius


def _outline(kind: str, rng: Generator) -> list[NDArray]:
    """Return the contours of a silhouette of any size; a second contour cuts a hole."""
    if kind == 'rectangle':
        half = rng.uniform(1, 1.4)
        return [np.array([(-half, -1), (half, -1), (half, 1), (-half, 1)])]
    if kind == 'triangle':
        return [_arc(1.0, 0.0, 2 * np.pi)[::32]]
    if kind == 'star':
        star = _arc(1.0, 0.0, 2 * np.pi)[np.rint(np.arange(10) * 9.6).astype(int)]
        star[1::2] *= 0.45
        return [star]
    if kind == 'cross':
        corner = [(0.34, 0.34), (0.34, 1), (-0.34, 1)]
        turns = [np.array([[0, -1], [1, 0]]), np.array([[-1, 0], [0, -1]])]
        arms = [np.array(corner), np.array(corner) @ turns[0].T]
        arms += [arm @ turns[1].T for arm in arms]
        return [np.concatenate(arms).astype(np.float32)]
    if kind == 'frame':
        square = _arc(1.0, 0.0, 2 * np.pi)[::24]
        return [square, square * 0.55]
    circle = _arc(1.0, 0.0, 2 * np.pi)
    return [circle, circle * 0.55] if kind == 'ring' else [circle]


def silhouette(kind: str, side: float, rng: Generator) -> Mask:
    """Return a randomly turned silhouette as an anti-aliased mask, 0 to 255.

    Args:
        kind: One of `THING_CLASSES`.
        side: Square root of its area in pixels.
        rng: Gives the rotation and the form where a kind has several.

    Example:
        >>> import numpy as np
        >>> mask = silhouette('circle', side=50.0, rng=np.random.default_rng(0))
        >>> abs(float((mask / 255.0).sum()) - 50**2) < 25
        True
    """
    contours = [np.ascontiguousarray(c, np.float32) for c in _outline(kind, rng)]
    areas = [cv2.contourArea(contour) for contour in contours]
    scale = side / np.sqrt(areas[0] - sum(areas[1:]))
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, sin], [-sin, cos]], np.float32)
    contours = [contour @ matrix for contour in contours]
    low, high = contours[0].min(0) - 1, contours[0].max(0) + 1
    width, height = np.ceil(high - low).astype(int)
    # OpenCV's polygons, anti-aliased or not, come out half a pixel too fat: it matters
    # four times less in a picture four times larger, which is averaged down.
    large = np.zeros((4 * height, 4 * width), np.uint8)
    corners = [np.rint((c - low) * 4 * 16 - 8).astype(np.int32) for c in contours]
    cv2.fillPoly(large, corners[:1], 255, shift=4)
    # A hole is cut as a polygon of its own: too fat by as much, so the bar is not.
    cv2.fillPoly(large, corners[1:], 0, shift=4)
    size = int(width), int(height)
    return np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Canvas:
    """Keeps what is visible of each object, and finds places that keep it visible."""

    def __init__(self, height: int, width: int) -> None:
        self.objects = np.full((height, width), -1, np.int64)
        self.full_areas: list[int] = []
        self.visible = np.zeros(0, np.int64)
        self.centres: list[tuple[float, float]] = []

    def _visible_after(self, mask: NDArray[np.bool_], place: Position) -> NDArray:
        (x, y), (height, width) = place, mask.shape
        under = self.objects[y : y + height, x : x + width][mask]
        hidden = np.bincount(under + 1, minlength=len(self.visible) + 1)[1:]
        return self.visible - hidden

    def find_place(self, mask: NDArray[np.bool_], rng: Generator) -> Position | None:
        """Return the left top corner for a new object, or None if it fits nowhere."""
        full = np.array(self.full_areas, np.int64)
        least = np.maximum(MIN_VISIBLE_FRACTION * full, MIN_VISIBLE_AREA)
        if rng.random() < OVERLAP_PROBABILITY:
            target, places = self._approach(mask, rng)
            hidden = rng.uniform(0.22, 0.45)
            for place in places:
                visible = self._visible_after(mask, place)
                enough = visible[target] <= (1 - hidden) * full[target]
                if enough and (visible >= least).all():
                    return place
        for attempt in range(60):
            floor = np.minimum(0.85 * full, self.visible) if attempt < 30 else least
            y, x = rng.integers(np.subtract(self.objects.shape, mask.shape) + 1)
            place = int(x), int(y)
            if (self._visible_after(mask, place) >= floor).all():
                return place
        return None

    def _approach(
        self, mask: NDArray[np.bool_], rng: Generator
    ) -> tuple[int, Iterator[Position]]:
        """Return an object that `mask` can hide, and places ever nearer to it."""
        full = np.array(self.full_areas)
        free = self.visible > 0.8 * full
        targets = np.flatnonzero(free & (full * 0.5 < mask.sum()))
        if not len(targets):
            return -1, iter(())
        target = int(rng.choice(targets))
        centre = np.array(self.centres[target])
        reach = 0.6 * max(mask.shape) + 0.8 * np.sqrt(full[target])
        angles = rng.uniform(0, 2 * np.pi, 4)
        rays = [np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
        steps = np.linspace(1, 0.1, 12) * reach
        return target, (self._inside(mask, centre + d * r) for r in rays for d in steps)

    def _inside(self, mask: NDArray[np.bool_], centre: NDArray) -> Position:
        size = np.array(mask.shape[::-1])
        room = np.array(self.objects.shape[::-1]) - size
        x, y = np.rint(np.clip(centre - size / 2, 0, room)).astype(int)
        return int(x), int(y)

    def put(self, mask: NDArray[np.bool_], place: Position) -> None:
        """Lay a new object over what is there."""
        (x, y), (height, width) = place, mask.shape
        self.visible = np.append(self._visible_after(mask, place), mask.sum())
        self.objects[y : y + height, x : x + width][mask] = len(self.full_areas)
        self.full_areas.append(int(mask.sum()))
        self.centres.append((x + width / 2, y + height / 2))


def _colour(luminance: float, rng: Generator) -> Array:
    """Return a random colour of about this luminance."""
    chroma = rng.standard_normal(3)
    chroma -= LUMA @ chroma
    chroma *= rng.uniform(10, 70) / np.abs(chroma).max()
    return (luminance + chroma).clip(5, 250).astype(np.float32)


def _plane(height: int, width: int, angle: float) -> Array:
    """Return the distance of each pixel from the left top corner along a direction."""
    x, y = np.arange(width) * np.cos(angle), np.arange(height) * np.sin(angle)
    return np.add.outer(y.astype(np.float32), x.astype(np.float32))


def _paint(image: Array, alpha: Mask, place: Position, rng: Generator) -> None:
    """Paint an object: filled, lightly shaded and with an outline to set it off."""
    (x, y), (height, width) = place, alpha.shape
    patch = image[y : y + height, x : x + width]
    under = float(patch[alpha >= 128].mean())
    contrast = rng.uniform(55, 105)
    fits = [s for s in (-1, 1) if 25 < under + s * contrast < 230]
    sign = float(rng.choice(fits)) if fits else (1.0 if under < 128 else -1.0)
    fill = _colour(float(np.clip(under + sign * contrast, 25, 230)), rng)

    light = _plane(height, width, rng.uniform(0, 2 * np.pi))
    light = 24 * (light - light.mean()) / max(float(np.ptp(light)), 1)
    core = cv2.erode(alpha, np.ones((3, 3), np.uint8), iterations=1 + (height > 40))
    light += sign * 35 * (alpha.astype(np.float32) - core) / 255
    share = alpha[..., None].astype(np.float32) / 255
    patch += share * (fill + light[..., None].astype(np.float32) - patch)


def _unit(field: NDArray) -> Array:
    """Scale a field to mean 0 and deviation 1."""
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _grass(height: int, width: int, rng: Generator) -> Array:
    noise = rng.standard_normal((height, width), dtype=np.float32)
    blades = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.8, sigmaY=rng.uniform(1.5, 3))
    return 8 * _unit(blades)


def _brick(height: int, width: int, rng: Generator) -> Array:
    angle, tall = rng.uniform(-0.4, 0.4), rng.uniform(10, 18)
    v = _plane(height, width, angle + np.pi / 2) / tall + 32
    row = np.floor(v)
    half = 0.5 * row
    u = _plane(height, width, angle) / (tall * 2.2) + (half - np.floor(half)) + 32
    column = np.floor(u)
    joint = np.minimum(v - row, 2.2 * (u - column)) < 2 / tall
    shades = rng.uniform(-6, 6, 1024).astype(np.float32)
    bricks = shades.take((31 * row + column).astype(np.int64) & 1023, mode='clip')
    return np.where(joint, np.float32(rng.choice([-18, 18])), bricks)


def _water(height: int, width: int, rng: Generator) -> Array:
    angle, length = rng.uniform(-0.5, 0.5), rng.uniform(12, 22)
    u, v = _plane(height, width, angle), _plane(height, width, angle + np.pi / 2)
    swell = np.sin(u / rng.uniform(10, 16) + rng.uniform(0, 6))
    drift = np.sin(u / 45 + v / 60 + rng.uniform(0, 6))
    return 9 * np.sin(2 * np.pi * v / length + 0.9 * swell + 1.5 * drift)


_TEXTURES: tuple[Callable[[int, int, Generator], Array], ...] = (_grass, _brick, _water)


def _ground(rng: Generator, width: int, height: int) -> tuple[Array, NDArray[np.int64]]:
    """Return a picture of 1 to 3 kinds of stuff with curved borders, and their map."""
    kinds = rng.permutation(len(STUFF_CLASSES))[: rng.integers(1, 4)]
    stuff = np.full((height, width), kinds[0])
    angle = rng.uniform(0, 2 * np.pi)
    for cut, kind in enumerate(kinds[1:]):
        angle += rng.uniform(-0.4, 0.4)
        along = _plane(height, width, angle + np.pi / 2)
        across = _plane(height, width, angle)
        across += rng.uniform(3, 14) * np.sin(along / rng.uniform(18, 50))
        share = (cut + 1 + rng.uniform(-0.3, 0.3)) / len(kinds)
        stuff[across > np.quantile(across[::8, ::8], share)] = kind
    relief = np.zeros((height, width), np.float32)
    tints = np.zeros((len(STUFF_CLASSES), 3), np.float32)
    for kind in kinds:
        texture = _TEXTURES[kind](height, width, rng)
        relief = np.where(stuff == kind, texture, relief)
        tints[kind] = _colour(rng.uniform(70, 185), rng)
    image = tints.take(stuff, axis=0, mode='clip')
    image += relief[..., None]
    return image, stuff
