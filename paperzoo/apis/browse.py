"""What a config's pipeline feeds the model, as pictures."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_dataset
from paperzoo.errors import UserError
from paperzoo.utils.files import free_path, new_folder, refuse_unwritable
from paperzoo.utils.progress import track

if TYPE_CHECKING:
    from mmengine.config import Config
    from numpy.typing import NDArray


def browse(
    cfg: 'Config',
    *,
    split: str = 'train',
    number: int = 12,
    out: str | Path = 'browse',
    seed: int = 0,
    columns: int = 4,
) -> Path:
    """Draw some images as the model gets them, after augmentation; return their page.

    Args:
        cfg: The config.
        split: `'train'`, `'val'` or `'test'`.
        number: How many images.
        out: A new folder: another one if there is one of this name.
        seed: Of the choice and of the augmentation.
        columns: Of the page.

    Raises:
        UserError: If the config has no such data set, it does not give one image with
            boxes, masks or a map at a time, or there is no such seed or page.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.browse import browse
        >>> from paperzoo.apis.config import load_config
        >>> cfg = load_config('knet_tiny_shapes_semantic')
        >>> with TemporaryDirectory() as folder:
        ...     page = browse(cfg, number=1, out=folder)
        ...     page.name, page.is_file()
        ('page.jpg', True)
    """
    from mmengine.runner import set_random_seed

    from paperzoo.visualization.overlays import write_page, write_picture

    for name, value, least, most in (
        ('seed', seed, 0, 2**32 - 1),
        ('columns', columns, 1, 100),
    ):
        if not least <= value <= most:
            raise UserError(
                f'--{name} {value}: it must be a whole number from {least} to {most}'
            )
    refuse_unwritable(free_path(Path(out)))
    set_random_seed(seed)
    dataset = whole_dataset(cfg, split)
    classes = tuple(dataset.metainfo.get('classes') or ())
    count = min(number, len(dataset))
    if count < 1:
        raise UserError(
            f'nothing to draw: --number {number} of {len(dataset)} images of '
            f'{split}_dataloader.dataset'
        )
    chosen = sorted(random.Random(seed).sample(range(len(dataset)), count))
    folder = new_folder(Path(out))
    pictures = []
    for index in track(chosen, f'{split} images'):
        item = dataset[index]
        picture = picture_of(item, classes)
        sample = item.get('data_samples')
        kind = 'image' if 'support' not in item else 'episode'
        stem = Path(getattr(sample, 'img_path', None) or kind).stem
        write_picture(folder / f'{index:06d}_{stem}.jpg', picture)
        height, width = picture.shape[:2]
        pictures.append((f'{index}: {stem} {width} x {height}', picture))
    return write_page(
        folder / 'page.jpg', pictures, columns=columns, width=1600 // columns
    )


def whole_dataset(cfg: 'Config', split: str) -> Any:
    """Return the data set of a split with its whole pipeline.

    Args:
        cfg: The config.
        split: `'train'`, `'val'` or `'test'`.

    Raises:
        UserError: If the config has no such data set, or its files are missing.

    Example:
        >>> from paperzoo.apis.browse import whole_dataset
        >>> from paperzoo.apis.config import load_config
        >>> len(whole_dataset(load_config('knet_tiny_shapes_semantic'), 'val'))
        100
    """
    spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if not spec:
        raise UserError(f'{cfg.filename}: {split}_dataloader.dataset is missing')
    return build_dataset(cfg, split, spec)


def picture_of(item: dict, classes: tuple[str, ...]) -> 'NDArray':
    """Return what a pipeline gives as a picture, the truth drawn over it.

    Args:
        item: `inputs` (3, H, W) and `data_samples`; or an episode, whose classes become
            rows: the supports at the left, then the queries.
        classes: Names of the classes.

    Raises:
        UserError: If `item` is not one image with boxes, masks or a map.

    Example:
        >>> import torch
        >>> from mmdet.structures import DetDataSample
        >>> from paperzoo.apis.browse import picture_of
        >>> image = torch.zeros(3, 4, 6, dtype=torch.uint8)
        >>> picture_of({'inputs': image, 'data_samples': DetDataSample()}, ()).shape
        (4, 6, 3)
    """
    import numpy as np

    from paperzoo.evaluation.results import has_truth, truth_records
    from paperzoo.visualization.overlays import draw

    if 'support' in item:
        return _episode(item)
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


def _episode(item: dict, most: int = 8) -> 'NDArray':
    """Return supports and some queries of an episode, a row for each class."""
    import numpy as np

    from paperzoo.visualization.overlays import make_grid

    def of_class(kind: str, label: int) -> list['NDArray']:
        own = item[kind][item[f'{kind}_label'] == label]
        return [image.permute(1, 2, 0).numpy()[..., ::-1] for image in own]

    pictures, columns = [], 0
    for label in item['support_label'].unique().tolist():
        supports = of_class('support', label)
        row = [*supports, *of_class('query', label)[:most]]
        columns = len(row)
        pictures += [np.ascontiguousarray(one) for one in row]
    return make_grid(pictures, columns, gap=4)
