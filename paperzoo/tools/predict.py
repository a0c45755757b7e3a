"""Find objects or segments in images of yours: overlays and one JSON file."""

import argparse
import glob
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError
from paperzoo.tools._model import (
    build_model,
    class_names,
    default_device,
    image_pipeline,
    load_weights,
    track,
)
from paperzoo.tools._shared import add_config_arguments, load_config, one_message

if TYPE_CHECKING:
    from mmengine.config import Config

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


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


def find_images(given: list[str]) -> list[Path]:
    """Return the image files that files, folders and globs name, each once.

    Raises:
        UserError: If one of them names no image.
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            files = sorted(p for p in path.rglob('*') if p.suffix.lower() in ENDINGS)
        elif path.is_file():
            files = [path]
        else:
            files = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
            files = [p for p in files if p.is_file()]
        if not files:
            raise UserError(
                f"'{name}' is no image, no folder with images ({', '.join(ENDINGS)}) "
                'and no glob that matches one'
            )
        found.update(dict.fromkeys(files))
    return list(found)


class Predictor:
    """A model with the pipeline that its images go through.

    Args:
        cfg: The config.
        checkpoint: File or URL.
        device: Where the model runs.
        score: Records below it are left out.
    """

    def __init__(
        self, cfg: 'Config', checkpoint: str, *, device: str, score: float
    ) -> None:
        from mmengine.dataset import Compose

        self.model: Any = build_model(cfg, device)
        meta = load_weights(self.model, checkpoint)
        self.classes = class_names(cfg, meta)
        self.score = score
        self.pipeline = Compose(image_pipeline(cfg))

    def __call__(self, file: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
        """Return the height and width of an image, and what is found in it.

        Raises:
            OSError: If the file is damaged.
        """
        import torch

        from paperzoo.engine.check_images import is_broken
        from paperzoo.evaluation.results import found_records

        # OpenCV would draw the missing part grey.
        if is_broken(file):
            raise OSError('empty, cut off or no image')
        data = self.pipeline({'img_path': str(file), 'img_id': 0})
        batch = {key: [data[key]] for key in ('inputs', 'data_samples')}
        with torch.inference_mode():
            (sample,) = self.model.test_step(batch)
        records = found_records(sample.to_dict(), self.classes)
        kept = [one for one in records if one.get('score', 1.0) >= self.score]
        height, width = sample.ori_shape[:2]
        return (height, width), kept


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

    from paperzoo.engine.overlays import draw, write_picture
    from paperzoo.evaluation.results import free_path

    # Images of two folders may have one name.
    target = free_path(folder / f'{file.stem}.jpg')
    return write_picture(target, draw(mmcv.imread(str(file)), records))


def main() -> None:
    """Predict."""
    args = parse_args()
    files = find_images(args.images)
    cfg = load_config(args)
    device = args.device or default_device()
    predictor = Predictor(cfg, args.checkpoint, device=device, score=args.score)

    from paperzoo.engine.record import checkpoint_record, run_record
    from paperzoo.evaluation.results import free_path, write_results

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
    file = write_results(folder / 'predictions.json', results)
    print(
        f'{len(results["annotations"])} results in {len(results["images"])} images, '
        f'{len(results["failed"])} images left out: {file.absolute()}'
    )
    if not results['images']:
        sys.exit(1)


if __name__ == '__main__':
    one_message(main)
