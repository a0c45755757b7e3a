"""Run lengths and polygons that do not fit their mask are refused before decoding.

Ailment: pycocotools trusts the sizes and run lengths of a mask, which come from an
annotation or a result: runs that are too short give foreign memory
or end the process (segmentation fault), as do polygons with numbers of a billion.
Upstream thread: none; pycocotools/_mask.pyx, common/maskApi.c.
Delete when: the supported pycocotools refuses all of tests/compat/test_run_lengths.py.
"""

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import numpy as np

from paperzoo.errors import UserError

# Pixels of one mask, and of the outlines of an object: a billion ends the process.
_MOST_PIXELS = 2**30
_LONGEST_OUTLINE = 1e7
_MARK = '_paperzoo_checks'


def apply() -> None:
    """Let pycocotools look at what it is given."""
    if find_spec('pycocotools') is None:
        return
    from pycocotools import mask

    if hasattr(mask.decode, _MARK):
        return
    for name in ('decode', 'area', 'toBbox', 'iou', 'merge'):
        setattr(mask, name, _checked(getattr(mask, name)))
    mask.frPyObjects = _checked_objects(mask.frPyObjects)


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for masks in args[:2]:
            _check_masks(masks)
        return function(*args, **kwargs)

    setattr(checked, _MARK, True)
    return checked


def _check_masks(masks: Any) -> None:
    if isinstance(masks, dict):
        check_run_lengths(masks)
    elif isinstance(masks, list | tuple) and masks and isinstance(masks[0], dict):
        for one in masks:
            check_run_lengths(one)


def _checked_objects(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(objects: Any, height: Any, width: Any) -> Any:
        _check_size(height, width)
        several = objects if isinstance(objects, list) else [objects]
        # Each a polygon or run lengths, or all of it one polygon or box.
        parts = [objects] if several and np.isscalar(several[0]) else several
        for one in parts:
            if isinstance(one, dict):
                check_run_lengths({'size': [height, width], **one})
            else:
                _check_outline(one)
        return function(objects, height, width)

    return checked


def check_run_lengths(mask: dict[str, Any]) -> None:
    """Refuse run lengths that are not as many pixels as the mask.

    Args:
        mask: `size` (height, width), and `counts`: COCO's text, or a list.

    Raises:
        UserError: If the run lengths are more or fewer pixels, or damaged.
    """
    try:
        height, width = mask['size']
        _check_size(height, width)
        counts = mask['counts']
        if isinstance(counts, str | bytes):
            runs = _decoded(counts)
        else:
            runs = np.asarray(counts)
            if len(runs) and runs.dtype.kind not in 'iu':
                raise ValueError('runs that are no whole numbers')
            runs = runs.astype(np.int64)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f'a mask cannot be read from its run lengths: {error}. Correct it in the '
            'annotations or results that it comes from'
        ) from error
    most = int(runs.max(initial=0))
    pixels = int(runs.sum()) if most <= _MOST_PIXELS else most
    if pixels != height * width or int(runs.min(initial=0)) < 0:
        raise UserError(
            f'the run lengths of a mask of {height} x {width} pixels are for {pixels}. '
            'Correct it in the annotations or results that it comes from'
        )


def _check_size(height: Any, width: Any) -> None:
    if not (height >= 0 and width >= 0 and height * width <= _MOST_PIXELS):
        raise UserError(
            f'a mask of {height} x {width} pixels cannot be read. Correct its size in '
            'the annotations or results that it comes from'
        )


def _decoded(text: str | bytes) -> np.ndarray:
    """Return the runs of COCO's text: five bits a letter, the low ones first."""
    raw = text.encode('ascii') if isinstance(text, str) else text
    letters = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(letters):
        return letters
    if letters.min() < 0 or letters.max() > 63:
        raise ValueError('a letter that COCO does not use')
    ends = np.flatnonzero(letters < 32)
    if not len(ends) or ends[-1] != len(letters) - 1:
        raise ValueError('the text is cut off')
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError('a run of more than 35 bits')
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((letters & 31) << (5 * place), starts)
    numbers -= np.where(letters[ends] & 16, np.int64(1) << (5 * lengths), 0)
    # From the fourth on a number is the difference to the one before the last.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _check_outline(points: Any) -> None:
    try:
        corners = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        return  # pycocotools says what it is
    if corners.ndim == 1 and len(corners) > 4 and len(corners) % 2 == 0:
        corners = corners.reshape(-1, 2)
        around = np.abs(corners - np.roll(corners, 1, axis=0)).sum()
    else:
        around = 4 * np.abs(corners).max(initial=0)  # boxes
    if not np.isfinite(corners).all() or around > _LONGEST_OUTLINE:
        raise UserError(
            f'an outline with the points {str(corners.ravel().tolist())[:80]} cannot '
            'be read. Correct it in the annotations that it comes from'
        )
