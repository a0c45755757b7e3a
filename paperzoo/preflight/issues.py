"""What is wrong before a run: errors, which stop it, and warnings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paperzoo.errors import UserError


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong.

    Args:
        text: The message: key, file, what is wrong, remedy.
        stops: Whether a run makes no sense with it; else it is a warning.

    Example:
        >>> Issue("data_root: there is no folder 'data/coco'").stops
        True
    """

    text: str
    stops: bool = True


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
