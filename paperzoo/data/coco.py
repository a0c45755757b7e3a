"""COCO-format detection sets that say clearly what is missing."""

from typing import Any

# isort: split
from mmdet.datasets import CocoDataset as MMDetCocoDataset

from paperzoo.data.coco_api import NamedCOCO
from paperzoo.data.layout import check_classes, locate
from paperzoo.data.shapes_draw import THING_CLASSES, THING_COLOURS
from paperzoo.registry import DATASETS


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """mmdet's `CocoDataset`: its root resolved, its classes found by name.

    Label k is class k of the class list, in whatever order the file has them.

    Args:
        ann_file: Annotation file, relative to `data_root`.
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        data_prefix: Image folders, relative to `data_root`.
        kwargs: Further arguments of mmdet's `CocoDataset`.

    Raises:
        UserError: If the annotation file or an image folder is not there, ids in the
            file are ambiguous, or the classes are one text.

    Example:
        >>> from paperzoo.errors import UserError
        >>> try:
        ...     CocoDataset(ann_file='a.json', data_root='/nowhere')
        ... except UserError as error:
        ...     print(str(error).partition(' (')[0])
        data set not found: data_root='/nowhere'
    """

    COCOAPI = NamedCOCO

    def __init__(
        self,
        ann_file: str = '',
        data_root: str | None = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        check_classes(kwargs.get('metainfo'))
        prefix = {'img_path': ''} if data_prefix is None else dict(data_prefix)
        super().__init__(
            ann_file=ann_file,
            data_root=locate(
                data_root,
                [ann_file, *prefix.values()],
                'images, and annotations in COCO format',
                'fcos_tiny_shapes',
                lazy=kwargs.get('lazy_init', False),
            ),
            data_prefix=prefix,
            **kwargs,
        )


@DATASETS.register_module()
class ShapesDataset(CocoDataset):
    """The built-in Shapes set, generated on first use (see `paperzoo.data.shapes`).

    Example:
        >>> ShapesDataset.METAINFO['classes'][:3]
        ('circle', 'rectangle', 'triangle')
    """

    METAINFO = {'classes': THING_CLASSES, 'palette': [*THING_COLOURS]}
