"""COCO-format detection sets that say clearly what is missing."""

import os
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset as MMDetCocoDataset

from paperzoo.data.paths import resolve
from paperzoo.data.shapes import THING_CLASSES
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """mmdet's `CocoDataset` with the data root resolved by `paperzoo.data.paths`.

    Args:
        ann_file: Annotation file, relative to `data_root`.
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        data_prefix: Image folders, relative to `data_root`.
        kwargs: Further arguments of mmdet's `CocoDataset`.

    Raises:
        UserError: If the annotation file or an image folder is not there.
    """

    def __init__(
        self,
        ann_file: str = '',
        data_root: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        prefix = {'img_path': ''} if data_prefix is None else dict(data_prefix)
        found_root = resolve(data_root)
        check_layout(found_root, ann_file, prefix, data_root)
        super().__init__(
            ann_file=ann_file, data_root=found_root, data_prefix=prefix, **kwargs
        )


@DATASETS.register_module()
class ShapesDataset(CocoDataset):
    """The built-in Shapes set, generated on first use (see `paperzoo.data.shapes`)."""

    METAINFO = {
        'classes': THING_CLASSES,
        'palette': [
            (230, 25, 75),
            (60, 180, 75),
            (255, 225, 25),
            (0, 130, 200),
            (245, 130, 48),
            (145, 30, 180),
            (70, 240, 240),
        ],
    }


def check_layout(
    root: str, ann_file: str, data_prefix: dict[str, str], written_root: str
) -> None:
    """Raise a message with the expected layout if a part of a data set is missing.

    Args:
        root: The resolved data root.
        ann_file: Annotation file, relative to `root` or absolute.
        data_prefix: Folders, relative to `root` or absolute.
        written_root: The data root as the config has it, for the message.

    Raises:
        UserError: If something is missing; it lists what was looked for and where.
    """
    needed = [Path(root, ann_file), *(Path(root, p) for p in data_prefix.values())]
    if all('://' in str(path) or path.exists() for path in needed):
        return
    lines = [
        f'  {"found  " if path.exists() else "MISSING"}  {path.absolute()}'
        for path in needed
    ]
    variable = os.environ.get('PAPERZOO_DATA')
    where = f'PAPERZOO_DATA={variable}' if variable else 'PAPERZOO_DATA is not set'
    raise UserError(
        f"data set not found: data_root='{written_root}' ({where})\n"
        + '\n'.join(lines)
        + '\nPut the data set there (annotations in COCO format), or set PAPERZOO_DATA '
        'to the folder that holds it, or point the config elsewhere: --cfg-options '
        'train_dataloader.dataset.data_root=PATH (and likewise val_, test_dataloader '
        'and the evaluators).\nWithout any data set: mim train paperzoo '
        'fcos_tiny_shapes.py runs on images that paperzoo makes itself.'
    )
