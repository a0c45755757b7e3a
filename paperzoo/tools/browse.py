"""Draw what a config's pipeline feeds the model: images after augmentation, truth."""

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.tools._shared import add_config_arguments, config_of, one_message, track
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from numpy.typing import NDArray


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=int, default=12, help='images to draw')
    parser.add_argument('--out', default='browse', metavar='DIR', help='a new folder')
    parser.add_argument('--seed', type=int, default=0, help='of choice, augmentation')
    parser.add_argument('--columns', type=int, default=4, help='of the page')
    return parser.parse_args()


def build_dataset(cfg: 'Config', split: str) -> Any:
    """Return the data set of a split with its whole pipeline.

    Raises:
        UserError: If the config has no such data set.
    """
    from mmengine.registry import DATASETS, init_default_scope

    from paperzoo.preflight.build_errors import spelling_explained

    spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if not spec:
        raise UserError(f'{cfg.filename}: {split}_dataloader.dataset is missing')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    try:
        with spelling_explained(cfg):
            return DATASETS.build(spec)
    except FileNotFoundError as error:
        raise UserError(
            f'{cfg.filename}: {split}_dataloader.dataset: {error}. Put the data set '
            f'there, or: --cfg-options {split}_dataloader.dataset.data_root=PATH'
        ) from error


def picture_of(item: dict, classes: tuple[str, ...]) -> 'NDArray':
    """Return what a pipeline gives as a picture, the truth drawn over it.

    Args:
        item: `inputs` (3, H, W) and `data_samples`.
        classes: Names of the classes.

    Raises:
        UserError: If it is not one image with boxes, masks or a map.
    """
    import numpy as np

    from paperzoo.evaluation.results import has_truth, truth_records
    from paperzoo.visualization.overlays import draw

    inputs: Any = item.get('inputs')
    sample: Any = item.get('data_samples')
    if getattr(inputs, 'ndim', 0) != 3 or not hasattr(sample, 'to_dict'):
        raise UserError(
            'browse draws pipelines that end in PackDetInputs or PackSegInputs with '
            f'one image; this one gives {sorted(item)}'
        )
    truth = sample.to_dict()
    image = inputs.detach().cpu().permute(1, 2, 0).numpy()
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    return draw(image, truth_records(truth, classes) if has_truth(truth) else [])


def browse(cfg: 'Config', args: argparse.Namespace) -> Path:
    """Write the pictures and the page; return the page."""
    from mmengine.runner import set_random_seed

    from paperzoo.utils.files import free_path
    from paperzoo.visualization.overlays import write_page, write_picture

    set_random_seed(args.seed)
    dataset = build_dataset(cfg, args.split)
    classes = tuple(dataset.metainfo.get('classes') or ())
    number = min(args.number, len(dataset))
    if number < 1:
        raise UserError(
            f'nothing to draw: --number {args.number} of {len(dataset)} images of '
            f'{args.split}_dataloader.dataset'
        )
    chosen = sorted(random.Random(args.seed).sample(range(len(dataset)), number))
    folder = free_path(Path(args.out))
    pictures = []
    for index in track(chosen, f'{args.split} images'):
        item = dataset[index]
        picture = picture_of(item, classes)
        stem = Path(getattr(item['data_samples'], 'img_path', None) or 'image').stem
        write_picture(folder / f'{index:06d}_{stem}.jpg', picture)
        height, width = picture.shape[:2]
        pictures.append((f'{index}: {stem} {width} x {height}', picture))
    return write_page(
        folder / 'page.jpg', pictures, columns=args.columns, width=1600 // args.columns
    )


def main() -> None:
    """Draw."""
    args = parse_args()
    page = browse(config_of(args), args)
    print(f'{args.split} images as the model gets them: {page.absolute()}')


if __name__ == '__main__':
    one_message(main)
