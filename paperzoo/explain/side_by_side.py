"""How the figures of several models stand together: in a slider, or side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from paperzoo.explain.html.report import Figure, Row, Slider

View = TypeVar('View')


def together(
    unit: str, views: Mapping[str, View], draw: Callable[[View], Sequence[Any]]
) -> list[Figure]:
    """Return the figures of all models.

    Args:
        unit: What a slider goes through, such as 'epoch'; nothing for figures side by
            side, each kind in its own row.
        views: By the names of the models.
        draw: Returns the figures of one, as many for each, all with captions.

    Example:
        >>> import numpy as np
        >>> from paperzoo.explain.html.report import HeatMap
        >>> views = {'1': np.zeros((2, 2)), '2': np.ones((2, 2))}
        >>> draw = lambda values: [HeatMap(values, 'a map')]
        >>> together('epoch', views, draw)[0].labels
        ['1', '2']
        >>> [one.caption for one in together('', views, draw)[0].figures]
        ['1: a map', '2: a map']
    """
    drawn = {name: draw(view) for name, view in views.items()}
    if unit:
        frames = [own[0] if len(own) == 1 else Row(own) for own in drawn.values()]
        return [Slider(unit, list(drawn), frames)]
    labelled = [
        [
            replace(one, caption=f'{name}: {one.caption}'.removesuffix(': '))
            for one in own
        ]
        for name, own in drawn.items()
    ]
    return [Row(kind) for kind in zip(*labelled, strict=True)]


def inside(
    name: str, labels: Sequence[str], parts: Sequence[Sequence[Figure]]
) -> list[Figure]:
    """Return sliders through figures of `together`, one for each kind of figure.

    Args:
        name: What the slider goes through, such as 'level'.
        labels: One per part.
        parts: What `together` returned for each label.

    Example:
        >>> from paperzoo.explain.html.report import Table
        >>> table = Table(['a'], [])
        >>> inside('level', ['P3', 'P4'], [[table], [table]])[0].labels
        ['P3', 'P4']
    """
    return [Slider(name, labels, frames) for frames in zip(*parts, strict=True)]
