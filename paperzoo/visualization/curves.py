"""Curves: of a training's losses and metrics, of precision over recall."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paperzoo.utils.files import write_safely
from paperzoo.visualization.text import plot_fonts

# More points than a picture has columns show nothing more.
_POINTS = 400


def draw_curves(
    file: Path, losses: Mapping[str, ArrayLike], metrics: Mapping[str, ArrayLike]
) -> Path:
    """Draw how losses and metrics went, side by side.

    Args:
        file: The picture, a PNG; an earlier one is replaced.
        losses: Of each step, by name. Drawn are means over parts of the training.
        metrics: Of each validation, by name.

    Raises:
        UserError: If the file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.visualization.curves import draw_curves
        >>> with TemporaryDirectory() as folder:
        ...     file = draw_curves(Path(folder, 'curves.png'), {'loss': [2, 1]}, {})
        ...     file.is_file()
        True
    """
    from matplotlib.figure import Figure

    parts = [
        (title, unit, curves)
        for title, unit, curves in (
            ('losses', 'step', losses),
            ('metrics', 'validation', metrics),
        )
        if curves
    ]
    with plot_fonts(*losses, *metrics):
        figure = Figure(figsize=(6 * max(1, len(parts)), 4.5), layout='constrained')
        for column, (title, unit, curves) in enumerate(parts, start=1):
            axes = figure.add_subplot(1, len(parts), column)
            for name, values in curves.items():
                steps, means = thinned(values)
                axes.plot(steps, means, '.-' if len(steps) < 30 else '-', label=name)
            axes.set_title(title)
            axes.set_xlabel(unit)
            axes.locator_params(axis='x', integer=True)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
        write_safely(file, lambda out: figure.savefig(out, format='png', dpi=110))
    return file


def thinned(values: ArrayLike, points: int = _POINTS) -> tuple[Any, Any]:
    """Return the numbers and values of a curve, of a long one means of its parts.

    What is not finite is left out.

    Args:
        values: One of each step.
        points: How many are returned at most.

    Example:
        >>> from paperzoo.visualization.curves import thinned
        >>> steps, means = thinned([4.0, 2.0, 1.0, 1.0], points=2)
        >>> steps.tolist(), means.tolist()
        ([1.5, 3.5], [3.0, 1.0])
    """
    known = np.asarray(values, float)
    steps = np.arange(1, len(known) + 1, dtype=float)
    steps, known = steps[np.isfinite(known)], known[np.isfinite(known)]
    parts = min(points, len(known))
    if parts == 0:
        return steps, known
    groups = zip(
        np.array_split(steps, parts), np.array_split(known, parts), strict=True
    )
    means = [(one.mean(), other.mean()) for one, other in groups]
    return np.array([one for one, _ in means]), np.array([two for _, two in means])


def draw_precision_recall(
    file: Path, curves: Mapping[str, Sequence[float]], averages: Mapping[str, float]
) -> Path:
    """Draw the precision of each class over its recall.

    Args:
        file: The picture, a PNG.
        curves: Precisions by class, at recalls from 0 to 1 in equal steps.
        averages: The classes' average precisions, for the legend.

    Raises:
        UserError: If the file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.visualization.curves import draw_precision_recall
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'pr.png')
        ...     draw_precision_recall(file, {'cat': [1, 1, 0]}, {'cat': 0.7}).is_file()
        True
    """
    from matplotlib.figure import Figure

    with plot_fonts(*curves):
        figure = Figure(figsize=(6.5, 5), layout='constrained')
        axes = figure.subplots()
        for name, values in curves.items():
            recalls = np.linspace(0, 1, len(values))
            axes.plot(recalls, values, label=f'{name} {100 * averages[name]:.1f}')
        axes.set_xlabel('recall')
        axes.set_ylabel('precision')
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        # A legend of COCO's 80 classes would hide the curves.
        if len(curves) <= 20:
            axes.legend(fontsize=8, title='AP')
        write_safely(file, lambda out: figure.savefig(out, format='png', dpi=110))
    return file
