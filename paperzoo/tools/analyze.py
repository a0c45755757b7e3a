"""Show a test's confusion matrix and its best and worst images, from its JSON file."""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.tools._shared import one_message, track
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'results', help='what `paperzoo test ... --out FILE.json` wrote'
    )
    parser.add_argument('--out', default='analysis', metavar='DIR', help='a new folder')
    parser.add_argument(
        '--score', type=float, default=0.3, help='leave out what scores lower'
    )
    parser.add_argument('--iou', type=float, default=0.5, help='smallest of a pair')
    parser.add_argument(
        '--number', type=int, default=8, help='of best and of worst images'
    )
    return parser.parse_args()


def read_results(name: str) -> dict[str, Any]:
    """Return the results that a test has written.

    Raises:
        UserError: If the file is none, or a pickle, or has no truth.
    """
    if name.endswith(('.pkl', '.pickle')):
        raise UserError(
            f"'{name}' is a pickle, which can run any code when it is read. Write the "
            'results as JSON: paperzoo test CONFIG CHECKPOINT --out results.json'
        )
    try:
        results = json.loads(Path(name).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f"'{name}' cannot be read as results: {error}") from error
    needed = {'kind', 'images', 'categories', 'annotations', 'truth'}
    missing = needed - set(results if isinstance(results, dict) else ())
    if missing:
        raise UserError(
            f"'{name}' has no {', '.join(sorted(missing))}: it is not written by "
            'paperzoo test CONFIG CHECKPOINT --out results.json'
        )
    if results['truth'] is None:
        raise UserError(
            f"'{name}' holds no truth: the test pipeline of the config has no "
            'LoadAnnotations. Add it after Resize, and test again'
        )
    if not results['images'] or not results['categories']:
        raise UserError(f"'{name}' holds no images or no classes: nothing to analyze")
    return results


def by_image(rows: list[dict]) -> dict[int, list[dict]]:
    """Return records by the number of their image."""
    grouped: dict[int, list[dict]] = defaultdict(list)
    for row in rows:
        grouped[row['image_id']].append(row)
    return grouped


def analyze(
    results: dict[str, Any], *, score: float, iou: float
) -> tuple['NDArray', dict[int, float]]:
    """Return the confusion matrix and the quality of each image by its number.

    Args:
        results: As a test has written them.
        score: Records below it are left out.
        iou: Smallest IoU of a pair of objects.
    """
    import numpy as np

    from paperzoo.evaluation.confusion import (
        object_confusion,
        object_quality,
        pixel_confusion,
        pixel_quality,
    )

    found, truth = by_image(results['annotations']), by_image(results['truth'])
    num_classes = len(results['categories'])
    total = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    quality = {}
    for image in track(results['images'], 'images'):
        number = image['id']
        kept = [one for one in found[number] if one.get('score', 1.0) >= score]
        if results['kind'] == 'instances':
            own = object_confusion(kept, truth[number], num_classes, iou)
            quality[number] = object_quality(kept, truth[number], iou)
        else:
            size = (image['height'], image['width'])
            own = pixel_confusion(kept, truth[number], num_classes, size)
            quality[number] = pixel_quality(own)
        total += own
    return total, quality


def draw_matrix(counts: 'NDArray', names: list[str], file: Path) -> Path:
    """Draw a confusion matrix, each row in percent of its truth."""
    import numpy as np
    from matplotlib.figure import Figure

    rows = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(4.0, 0.45 * len(names) + 2), 40.0)
    figure = Figure(figsize=(side, side), layout='constrained')
    axes = figure.subplots()
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
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    return file


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
    """
    import cv2

    from paperzoo.visualization.overlays import beside, draw, write_page

    found, truth = by_image(results['annotations']), by_image(results['truth'])
    images = {image['id']: image for image in results['images']}
    pictures = []
    for number, quality in chosen:
        name = images[number]['file_name']
        picture = cv2.imread(name)
        if picture is None:
            print(f'not drawn, for it cannot be read: {name}')
            continue
        kept = [one for one in found[number] if one.get('score', 1.0) >= score]
        pair = beside(draw(picture, truth[number]), draw(picture, kept))
        title = f'{quality:.3f} {Path(name).stem}: truth, found'
        pictures.append((title, pair))
    if not pictures:
        return None
    return write_page(file, pictures, columns=2, width=800)


def draw_all(
    results: dict[str, Any],
    counts: 'NDArray',
    order: list[tuple[int, float]],
    folder: Path,
    args: argparse.Namespace,
) -> dict[str, Path | None]:
    """Draw the matrix, the worst and the best images; return what is where."""
    # Half of the images at most, so that none is among the best and the worst.
    number = max(1, min(args.number, len(order) // 2))
    worst, best = order[:number], order[::-1][:number]
    return {
        'confusion matrix': draw_matrix(
            counts, class_names(results), folder / 'confusion.png'
        ),
        'worst images': draw_images(results, worst, folder / 'worst.jpg', args.score),
        'best images': draw_images(results, best, folder / 'best.jpg', args.score),
    }


def class_names(results: dict[str, Any]) -> list[str]:
    """Return the names of the matrix's rows and columns."""
    return [category['name'] for category in results['categories']] + ['nothing']


def main() -> None:
    """Analyze."""
    args = parse_args()
    results = read_results(args.results)
    counts, quality = analyze(results, score=args.score, iou=args.iou)

    from paperzoo.utils.files import free_path, write_json
    from paperzoo.utils.run_info import run_record

    folder = free_path(Path(args.out))
    order = sorted(quality.items(), key=lambda pair: pair[1])
    pages = draw_all(results, counts, order, folder, args)
    files = {image['id']: image['file_name'] for image in results['images']}
    record = {
        'results': args.results,
        'kind': results['kind'],
        'score': args.score,
        'iou': args.iou,
        'names': class_names(results),
        'confusion': counts.tolist(),
        'rows': 'truth',
        'unit': 'objects' if results['kind'] == 'instances' else 'pixels',
        'mean_quality': sum(quality.values()) / len(quality),
        'quality': [{'file_name': files[k], 'quality': q} for k, q in order],
        **run_record(),
    }
    written = write_json(folder / 'analysis.json', record)
    print(f'{len(quality)} images, mean quality {record["mean_quality"]:.3f}')
    for what, file in pages.items():
        print(f'{what}: {file.absolute() if file else "none of them can be read"}')
    print(f'numbers: {written.absolute()}')


if __name__ == '__main__':
    one_message(main)
