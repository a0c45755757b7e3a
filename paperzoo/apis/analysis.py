"""Confusion matrix, best and worst images of a test, drawn and written."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.images import check_image_file, reason_of
from paperzoo.errors import UserError
from paperzoo.evaluation.analysis import (
    by_image,
    confusion_and_quality,
    read_results,
    unusable,
)
from paperzoo.evaluation.confusion import exchanged
from paperzoo.evaluation.precision_recall import precision_recall
from paperzoo.utils.files import (
    free_path,
    new_folder,
    refuse_unwritable,
    write_json,
    write_safely,
)
from paperzoo.utils.progress import track
from paperzoo.utils.run_info import run_info

# What a confusion matrix counts; pixels, of others.
_UNITS = {'instances': 'objects', 'episodes': 'queries'}


def analyze(
    results: str,
    *,
    out: str | Path = 'analysis',
    score: float = 0.3,
    iou: float = 0.5,
    number: int = 8,
) -> tuple[dict[str, Any], dict[str, Path | None]]:
    """Write the confusion matrix, best and worst images, and all numbers of a test.

    Of objects also each class's precision over recall, with its average at `iou`.

    Args:
        results: The JSON file that a test has written.
        out: A new folder: another one if there is one of this name.
        score: Records below it are left out.
        iou: Smallest IoU of a pair of objects.
        number: Of best and of worst images.

    Returns:
        What is written as `analysis.json`, and where each file is (None where no image
        can be read any more).

    Raises:
        UserError: If the file holds no results with truth, none of them can be
            compared, or nothing can be written to `out`.

    Example:
        >>> from paperzoo.apis.analysis import analyze
        >>> analyze('no_such.json')
        Traceback (most recent call last):
        paperzoo.errors.UserError: 'no_such.json' cannot be read as results: ...
    """
    refuse_unwritable(free_path(Path(out)))
    found = read_results(results)
    images, left_out = _usable(found, results)
    counts, quality = confusion_and_quality(
        found, score=score, iou=iou, images=track(images, 'images')
    )
    folder = new_folder(Path(out))
    order = sorted(quality.items(), key=lambda pair: pair[1])
    names = [category['name'] for category in found['categories']] + ['nothing']
    written = {
        'confusion matrix': draw_matrix(counts, names, folder / 'confusion.png'),
        **_worst_and_best(found, order, folder, score, number),
    }
    files = {image['id']: image['file_name'] for image in found['images']}
    swapped = [(names[one], names[other]) for one, other in exchanged(counts)]
    record = {
        'results': results,
        'kind': found['kind'],
        'score': score,
        'iou': iou,
        'names': names,
        'confusion': counts.tolist(),
        'rows': 'truth',
        'unit': _UNITS.get(found['kind'], 'pixels'),
        'exchanged': swapped,
        'mean_quality': sum(quality.values()) / len(quality),
        'left_out': left_out,
        'quality': [{'file_name': files[k], 'quality': q} for k, q in order],
        **run_info(),
    }
    if found['kind'] == 'instances':
        record['classes'], written['precision and recall'] = _by_class(
            found, images, folder / 'precision_recall.png', iou
        )
    written['numbers'] = write_json(folder / 'analysis.json', record)
    return record, written


def _worst_and_best(
    found: dict[str, Any],
    order: list[tuple[int, float]],
    folder: Path,
    score: float,
    number: int,
) -> dict[str, Path | None]:
    """Draw the images of lowest and of highest quality, a page of each."""
    # Half of the images at most, so that none is among the best and the worst.
    few = max(1, min(number, len(order) // 2))
    worst, best = order[:few], order[::-1][:few]
    return {
        'worst images': draw_images(found, worst, folder / 'worst.jpg', score),
        'best images': draw_images(found, best, folder / 'best.jpg', score),
    }


def _by_class(
    found: dict[str, Any], images: list[dict[str, Any]], file: Path, iou: float
) -> tuple[list[dict[str, Any]], Path]:
    """Return average precision and curve of each class, and the picture of them."""
    from paperzoo.visualization.curves import draw_precision_recall

    curves = precision_recall({**found, 'images': images}, iou)
    rows = [
        {
            'name': name,
            'average_precision': curve.average,
            'objects': curve.objects,
            'found': curve.found,
            'precision': curve.precision.round(5),
        }
        for name, curve in curves.items()
    ]
    known = {name: one for name, one in curves.items() if one.objects}
    picture = draw_precision_recall(
        file,
        {name: one.precision.tolist() for name, one in known.items()},
        {name: one.average for name, one in known.items()},
    )
    return rows, picture


def _usable(
    found: dict[str, Any], results: str
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the images that can be compared; and, said aloud, why others cannot."""
    reasons = unusable(found)
    images = [one for one in found['images'] if one['id'] not in reasons]
    left_out = [
        {'file_name': one['file_name'], 'reason': reasons[one['id']]}
        for one in found['images']
        if one['id'] in reasons
    ]
    for one in left_out:
        print(
            f'paperzoo: {one["file_name"]} is left out: {one["reason"]}',
            file=sys.stderr,
        )
    if not images:
        reason = next(iter(reasons.values()))
        raise UserError(f"'{results}': no image can be analyzed, such as for {reason}")
    return images, left_out


def draw_matrix(counts: NDArray[np.int64], names: list[str], file: Path) -> Path:
    """Draw a confusion matrix, each row in percent of its truth.

    Args:
        counts: (C + 1, C + 1): rows the truth, columns what was found.
        names: Of rows and columns.
        file: The picture.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.analysis import draw_matrix
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'confusion.png')
        ...     draw_matrix(np.eye(2, dtype=int), ['cat', 'nothing'], file).is_file()
        True
    """
    from matplotlib.figure import Figure

    from paperzoo.visualization.text import plot_fonts

    rows = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(4.0, 0.45 * len(names) + 2), 40.0)
    with plot_fonts(*names):
        figure = Figure(figsize=(side, side), layout='constrained')
        _fill_matrix(figure.subplots(), rows, names)
        write_safely(file, lambda out: figure.savefig(out, format='png', dpi=110))
    return file


def _fill_matrix(axes: Any, rows: NDArray[np.float64], names: list[str]) -> None:
    axes.imshow(rows, cmap='Blues', vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel('found')
    axes.set_ylabel('truth')
    axes.set_title('percent of the truth')
    if len(names) <= 40:
        for (row, column), value in np.ndenumerate(rows):
            if round(100 * value):
                color = 'white' if value > 0.5 else 'black'
                text = f'{100 * value:.0f}'
                axes.text(
                    column, row, text, ha='center', va='center', color=color, size=7
                )


def draw_images(
    results: dict[str, Any],
    chosen: list[tuple[int, float]],
    file: Path,
    score: float,
) -> Path | None:
    """Draw images as one page, the truth at the left; None if none can be read.

    Args:
        results: As a test has written them.
        chosen: Numbers and qualities of the images.
        file: The page.
        score: Records below it are left out.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.apis.analysis import draw_images
        >>> results = {'annotations': [], 'truth': [], 'images': []}
        >>> draw_images(results, [], Path('worst.jpg'), 0.3) is None
        True
    """
    import mmcv

    from paperzoo.visualization.overlays import beside, draw, write_page

    found, truth = by_image(results['annotations']), by_image(results['truth'])
    images = {image['id']: image for image in results['images']}
    pictures = []
    for number, quality in chosen:
        name = images[number]['file_name']
        kept = [one for one in found[number] if one.get('score', 1.0) >= score]
        try:
            check_image_file(Path(name))
            picture = mmcv.imread(name)
            pair = picture
            if results['kind'] != 'episodes':
                pair = beside(draw(picture, truth[number]), draw(picture, kept))
        except Exception as error:
            print(f'not drawn: {name}: {reason_of(error)}', file=sys.stderr)
            continue
        title = f'{quality:.3f} {Path(name).stem}: truth, found'
        if results['kind'] == 'episodes':
            names = [category['name'] for category in results['categories']]
            answers = Counter(names[one['category_id']] for one in found[number])
            real = names[truth[number][0]['category_id']]
            title = f'{quality:.2f} {real}, found as {answers.most_common(1)[0][0]}'
        pictures.append((title, pair))
    if not pictures:
        return None
    return write_page(file, pictures, columns=2, width=800)
