"""Semantic segmentation sets that say clearly what is missing; they need mmseg only."""

from typing import Any

# isort: split
from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets import BaseSegDataset

from paperzoo.data.layout import check_classes, locate
from paperzoo.data.shapes_draw import (
    STUFF_CLASSES,
    STUFF_COLOURS,
    THING_CLASSES,
    THING_COLOURS,
)
from paperzoo.registry import DATASETS


class _Located(BaseSegDataset):
    """A data set whose root is resolved by `paperzoo.data.paths`.

    Args:
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        data_prefix: Folders of images (`img_path`) and of label maps
            (`seg_map_path`), relative to `data_root`.
        ann_file: List of image names, relative to `data_root`; by default all.
        kwargs: Further arguments of mmseg's class.

    Raises:
        UserError: If a folder or the list is not there, or the classes are one text.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: dict[str, str],
        ann_file: str = '',
        **kwargs: Any,
    ) -> None:
        check_classes(kwargs.get('metainfo'))
        super().__init__(
            data_root=locate(
                data_root,
                [ann_file, *data_prefix.values()],
                'a folder of images and one of label maps as PNG, of equal names',
                'knet_tiny_shapes_semantic',
                lazy=kwargs.get('lazy_init', False),
            ),
            data_prefix=dict(data_prefix),
            ann_file=ann_file,
            **kwargs,
        )


@DATASETS.register_module()
class SemanticDataset(_Located):
    """Any set of images and label maps; `metainfo` names the classes.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for file in ('images/a.jpg', 'maps/a.png'):
        ...     (root / file).parent.mkdir()
        ...     Image.new('L', (4, 4)).save(root / file)
        >>> prefix = {'img_path': 'images', 'seg_map_path': 'maps'}
        >>> names = {'classes': ('cat', 'dog')}
        >>> len(SemanticDataset(str(root), prefix, metainfo=names))
        1
    """


@DATASETS.register_module()
class ADE20KDataset(_Located, MMSegADE20KDataset):
    """mmseg's `ADE20KDataset`: 150 classes; 0 in the label maps is no class.

    Example:
        >>> len(ADE20KDataset.METAINFO['classes'])
        150
    """


@DATASETS.register_module()
class ShapesSemanticDataset(_Located):
    """The built-in Shapes set with its label maps, generated on first use.

    Example:
        >>> ShapesSemanticDataset.METAINFO['classes'][-3:]
        ('grass', 'brick', 'water')
    """

    METAINFO = {
        'classes': (*THING_CLASSES, *STUFF_CLASSES),
        'palette': [*THING_COLOURS, *STUFF_COLOURS],
    }


@DATASETS.register_module()
class CamVidDataset(_Located):
    """CamVid with 11 classes; 255 in the label maps is void.

    Example:
        >>> len(CamVidDataset.METAINFO['classes'])
        11
    """

    METAINFO = {
        'classes': (
            'Sky',
            'Building',
            'Pole',
            'Road',
            'Pavement',
            'Tree',
            'SignSymbol',
            'Fence',
            'Car',
            'Pedestrian',
            'Bicyclist',
        ),
        'palette': [
            (128, 128, 128),
            (128, 0, 0),
            (192, 192, 128),
            (128, 64, 128),
            (60, 40, 222),
            (128, 128, 0),
            (192, 128, 128),
            (64, 64, 128),
            (64, 0, 128),
            (64, 64, 0),
            (0, 128, 192),
        ],
    }
