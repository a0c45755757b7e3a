"""COCO-format panoptic sets that say clearly what is missing."""

from typing import Any

# isort: split
from mmdet.datasets import CocoPanopticDataset as MMDetCocoPanopticDataset

from paperzoo.data.coco import ShapesDataset
from paperzoo.data.layout import locate
from paperzoo.data.shapes import STUFF_CLASSES, THING_CLASSES
from paperzoo.registry import DATASETS


@DATASETS.register_module()
class CocoPanopticDataset(MMDetCocoPanopticDataset):
    """mmdet's `CocoPanopticDataset`, its root resolved by `paperzoo.data.paths`.

    Args:
        ann_file: Panoptic annotation file, relative to `data_root`.
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        data_prefix: Folders of images (`img`) and of panoptic PNGs (`seg`), relative
            to `data_root`.
        kwargs: Further arguments of mmdet's `CocoPanopticDataset`.

    Raises:
        UserError: If the annotation file or a folder is not there.

    Example:
        >>> from paperzoo.errors import UserError
        >>> prefix = {'img': 'val', 'seg': 'maps'}
        >>> try:
        ...     CocoPanopticDataset('a.json', '/nowhere', prefix)
        ... except UserError as error:
        ...     print(str(error).partition(' (')[0])
        data set not found: data_root='/nowhere'
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str,
        data_prefix: dict[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ann_file=ann_file,
            data_root=locate(
                data_root,
                [ann_file, *data_prefix.values()],
                "images, and annotations in COCO's panoptic format",
                'knet_tiny_shapes_panoptic',
            ),
            data_prefix=dict(data_prefix),
            **kwargs,
        )


@DATASETS.register_module()
class ShapesPanopticDataset(CocoPanopticDataset):
    """The built-in Shapes set with its panoptic maps, generated on first use.

    Example:
        >>> ShapesPanopticDataset.METAINFO['stuff_classes']
        ('grass', 'brick', 'water')
    """

    METAINFO = {
        'classes': (*THING_CLASSES, *STUFF_CLASSES),
        'thing_classes': THING_CLASSES,
        'stuff_classes': STUFF_CLASSES,
        'palette': [
            *ShapesDataset.METAINFO['palette'],
            (128, 128, 128),
            (170, 110, 40),
            (0, 128, 128),
        ],
    }
