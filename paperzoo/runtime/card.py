"""What an exported file says of itself: JSON among its metadata, checked when read."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paperzoo.errors import UserError

# Of what `paperzoo export` writes, how its names end; and what runs without torch.
FORMATS = {'onnx': '.onnx', 'torch': '.pt2', 'openvino': '.xml'}
ENDINGS = (FORMATS['onnx'], FORMATS['openvino'])
# Under this key the file's metadata holds the card.
KEY = 'paperzoo'
FORMAT = 1
TASKS = ('detection', 'instance', 'panoptic', 'semantic', 'few-shot', 'sequence')
_LARGEST = 1 << 20  # characters of a card
_LARGEST_SIDE = 1 << 15
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')


def is_exported(file: str | os.PathLike) -> bool:
    """Return whether a name is that of an exported file.

    Args:
        file: The name.

    Example:
        >>> from paperzoo.runtime.card import is_exported
        >>> is_exported('model.onnx'), is_exported('epoch_1.pth')
        (True, False)
    """
    return Path(file).suffix.lower() in ENDINGS


@dataclass(frozen=True, kw_only=True)
class Card:
    """What who runs an exported file must know.

    Attributes:
        task: One of `TASKS`.
        model: Class of the model.
        classes: Names of its classes, in the order of the labels.
        palette: A colour (red, green, blue) of each class; empty if nothing says them.
        scale: Width and height to which images are resized; None: they are not.
        keep_ratio: Whether `scale` is what images must fit into.
        interpolation: Of the resizing, as OpenCV names it.
        divisor: Sides of padded images are multiples of it; the padding is to the right
            and below, and the file ignores what is in it.
        size: Width and height of the file's input; None: they are free.
        batch: Images of a call; None: their number is free.
        channels: Order in which the file takes the channels: `'rgb'` of few-shot files,
            else `'bgr'`.
        mean: Taken off each channel by the file, in the order of the network.
        std: What the file divides each channel by.
        settings: Thresholds and numbers with which the file decides.
        versions: Of what has written it.
    """

    task: str
    model: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    scale: tuple[int, int] | None = None
    keep_ratio: bool = True
    interpolation: str = 'bilinear'
    divisor: int = 1
    size: tuple[int, int] | None = None
    batch: int | None = None
    channels: str = 'bgr'
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the card as text."""
        return json.dumps({'format': FORMAT, **asdict(self)})


def read_card(text: str | None, file: str) -> Card:
    """Return the card of a file from elsewhere, or refuse it.

    Args:
        text: What its metadata holds under `KEY`; None for nothing.
        file: Its name, for messages.

    Raises:
        UserError: If there is no card, it is of a later version of paperzoo, or a value
            is of another kind or out of its range.

    Example:
        >>> from paperzoo.runtime.card import Card, read_card
        >>> card = Card(task='detection', model='FCOS', classes=('cat',))
        >>> read_card(card.to_json(), 'a.onnx') == card
        True
        >>> read_card(None, 'b.onnx')
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'b.onnx' was not written by paperzoo export: ...
    """
    if text is None:
        raise UserError(
            f"'{file}' was not written by paperzoo export: its metadata has no "
            f"'{KEY}', which says what goes in and what comes out"
        )
    try:
        found = json.loads(text) if len(text) <= _LARGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"'{file}': its metadata '{KEY}' is no JSON object")
    if found.pop('format', None) != FORMAT:
        raise UserError(
            f"'{file}' was written by another version of paperzoo, in a format that "
            'this one does not read: export it again'
        )
    unknown = found.keys() - Card.__dataclass_fields__.keys()
    missing = {'task', 'model', 'classes'} - found.keys()
    if unknown or missing:
        names = ', '.join(sorted(unknown or missing))
        raise UserError(
            f"'{file}': its metadata '{KEY}' has "
            f'{"unknown" if unknown else "no"} keys: {names[:200]}'
        )
    values = {key: _tuples(value) for key, value in found.items()}
    usual = vars(Card(task=TASKS[0], model='', classes=()))
    for key, fits in _fits(SimpleNamespace(**{**usual, **values})).items():
        if not fits:
            raise UserError(
                f"'{file}': its metadata '{KEY}' says {key}="
                f'{str(values.get(key))[:100]}, which cannot be: export it again'
            )
    return Card(**values)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fits(card: SimpleNamespace) -> dict[str, bool]:
    """Return of each value whether it is what it should be."""
    return {
        'task': card.task in TASKS,
        'model': isinstance(card.model, str),
        'classes': isinstance(card.classes, tuple)
        and all(isinstance(name, str) for name in card.classes),
        'palette': isinstance(card.palette, tuple)
        and all(_whole(color, 3, 0, 255) for color in card.palette),
        'scale': card.scale is None or _whole(card.scale, 2),
        'keep_ratio': isinstance(card.keep_ratio, bool),
        'interpolation': card.interpolation in INTERPOLATIONS,
        'divisor': _whole((card.divisor,), 1),
        'size': card.size is None or _whole(card.size, 2),
        'batch': card.batch is None or _whole((card.batch,), 1),
        'channels': card.channels == ('rgb' if card.task == 'few-shot' else 'bgr'),
        'mean': _numbers(card.mean),
        'std': _numbers(card.std),
        'settings': isinstance(card.settings, dict),
        'versions': isinstance(card.versions, dict),
    }


def _whole(values: Any, count: int, low: int = 1, high: int = _LARGEST_SIDE) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(one) is int and low <= one <= high for one in values)
    )


def _numbers(values: Any) -> bool:
    return isinstance(values, tuple) and all(
        type(one) in (float, int) and abs(one) < math.inf for one in values
    )
