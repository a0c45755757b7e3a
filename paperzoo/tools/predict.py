"""Find objects or segments in images of yours: overlays and one JSON file."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import default_device
from paperzoo.apis.inference import Predictor, find_images
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, track

if TYPE_CHECKING:
    pass


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('images', nargs='+', help='files, folders or globs')
    parser.add_argument(
        '--out', default='predictions', metavar='DIR', help='a new folder'
    )
    parser.add_argument(
        '--score', type=float, default=0.3, help='leave out what scores lower'
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    parser.add_argument('--no-overlays', action='store_true', help='only the JSON')
    return parser.parse_args()


def predict(predictor: Predictor, files: list[Path], folder: Path | None) -> dict:
    """Return the results of all images; draw overlays into a folder.

    Args:
        predictor: The model.
        files: The images.
        folder: Where overlays go; None for none.
    """
    from paperzoo.evaluation.results import categories

    results: dict[str, Any] = {
        'images': [],
        'categories': categories(predictor.classes),
        'annotations': [],
        'failed': [],
    }
    for file in track(files, 'images'):
        try:
            (height, width), records = predictor(file)
        except OSError as error:
            print(f'paperzoo: {file} is left out: {error}', file=sys.stderr)
            results['failed'].append({'file_name': str(file), 'error': str(error)})
            continue
        image = {'id': len(results['images']) + 1, 'file_name': str(file)}
        image |= {'width': width, 'height': height}
        if folder is not None:
            overlay = _overlay(file, records, folder)
            image['overlay'] = overlay.relative_to(folder.parent).as_posix()
        results['images'].append(image)
        for record in records:
            number = len(results['annotations']) + 1
            own = {'id': number, 'image_id': image['id'], **record}
            results['annotations'].append(own)
    return results


def _overlay(file: Path, records: list[dict], folder: Path) -> Path:
    import mmcv

    from paperzoo.utils.files import free_path
    from paperzoo.visualization.overlays import draw, write_picture

    # Images of two folders may have one name.
    target = free_path(folder / f'{file.stem}.jpg')
    return write_picture(target, draw(mmcv.imread(str(file)), records))


def main() -> None:
    """Predict."""
    args = parse_args()
    files = find_images(args.images)
    cfg = config_of(args)
    device = args.device or default_device()
    predictor = Predictor(cfg, args.checkpoint, device=device, score=args.score)

    from paperzoo.utils.files import free_path, write_json
    from paperzoo.utils.run_info import checkpoint_record, run_record

    folder = free_path(Path(args.out))
    start = time.time()
    results = predict(
        predictor, files, None if args.no_overlays else folder / 'overlays'
    )
    results['info'] = {
        'config': args.config,
        'score': args.score,
        **checkpoint_record(args.checkpoint),
        'seconds': round(time.time() - start, 1),
        **run_record(),
    }
    file = write_json(folder / 'predictions.json', results, one_a_line=True)
    print(
        f'{len(results["annotations"])} results in {len(results["images"])} images, '
        f'{len(results["failed"])} images left out: {file.absolute()}'
    )
    if not results['images']:
        sys.exit(1)


if __name__ == '__main__':
    one_message(main)
