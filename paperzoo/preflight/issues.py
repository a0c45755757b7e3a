"""What is wrong before a run: errors, which stop it, and warnings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paperzoo.errors import UserError


@dataclass(frozen=True)
class Example:
    """An image in which something is wrong.

    Args:
        file: The image.
        box: Where in it: left, top, width and height in pixels; it may lie outside.
        text: What is wrong, for a title.

    Example:
        >>> Example(Path('a.jpg'), (0.0, 0.0, 9.0, 0.0), 'annotation 7').file.name
        'a.jpg'
    """

    file: Path
    box: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong.

    Args:
        text: The message: key, file, what is wrong, remedy.
        stops: Whether a run makes no sense with it; else it is a warning.
        examples: Images to look at, the worst first.

    Example:
        >>> Issue("data_root: there is no folder 'data/coco'").stops
        True
    """

    text: str
    stops: bool = True
    examples: tuple[Example, ...] = ()


def shortened(value: Any) -> str:
    """Return a value of a config as it is shown in a message.

    Example:
        >>> shortened('no'), shortened([0] * 1000)[91:]
        ("'no'", '0, 0, 0, ...')
    """
    text = repr(value)
    return text if len(text) < 100 else f'{text[:100]}...'


def report(
    issues: Iterable[Issue],
    way_out: str = '',
    warn: Callable[[str], object] = print,
) -> None:
    """Say the warnings among some issues and refuse the run for the others.

    Args:
        issues: All that was found.
        way_out: How to run without the checks, for the end of the error's message.
        warn: What takes the text of each warning.

    Raises:
        UserError: If an issue stops the run; the message has a paragraph for each.

    Example:
        >>> report([Issue('3 boxes have no area', stops=False)])
        warning: 3 boxes have no area
    """
    found = list(issues)
    errors = [one.text for one in found if one.stops]
    warnings = [one.text for one in found if not one.stops]
    for text in warnings:
        warn(f'warning: {text}')
    if len(warnings) > 1:
        warn(f'{len(warnings)} warnings')
    if errors:
        raise UserError('\n\n'.join([*errors, way_out]).rstrip())
