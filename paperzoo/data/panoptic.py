"""COCO-format panoptic sets that say clearly what is missing."""

from pathlib import Path
from typing import Any

# isort: split
from mmdet.datasets import CocoPanopticDataset as MMDetCocoPanopticDataset

from paperzoo.data.coco_api import NamedCOCOPanoptic
from paperzoo.data.layout import check_classes, locate
from paperzoo.data.shapes_draw import (
    STUFF_CLASSES,
    STUFF_COLOURS,
    THING_CLASSES,
    THING_COLOURS,
)
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS


@DATASETS.register_module()
class CocoPanopticDataset(MMDetCocoPanopticDataset):
    """mmdet's `CocoPanopticDataset`: its root resolved, its classes found by name.

    Label k is class k of the class list, whatever the order of the file; the PNG of an
    image is the one that its annotation names.

    Args:
        ann_file: Panoptic annotation file, relative to `data_root`.
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`.
        data_prefix: Folders of images (`img`) and of panoptic PNGs (`seg`), relative
            to `data_root`.
        kwargs: Further arguments of mmdet's `CocoPanopticDataset`.

    Raises:
        UserError: If the annotation file or a folder is not there, things do not come
            before stuff in the class list, or the file is ambiguous: a segment of id 0
            or of two meanings, a category without `isthing` or without a class.

    Example:
        >>> from paperzoo.errors import UserError
        >>> prefix = {'img': 'val', 'seg': 'maps'}
        >>> try:
        ...     CocoPanopticDataset('a.json', '/nowhere', prefix)
        ... except UserError as error:
        ...     print(str(error).partition(' (')[0])
        data set not found: data_root='/nowhere'
    """

    COCOAPI = NamedCOCOPanoptic

    def __init__(
        self,
        ann_file: str,
        data_root: str,
        data_prefix: dict[str, str],
        **kwargs: Any,
    ) -> None:
        check_classes(kwargs.get('metainfo'))
        super().__init__(
            ann_file=ann_file,
            data_root=locate(
                data_root,
                [ann_file, *data_prefix.values()],
                "images, and annotations in COCO's panoptic format",
                'knet_tiny_shapes_panoptic',
                lazy=kwargs.get('lazy_init', False),
            ),
            data_prefix=dict(data_prefix),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Return what mmdet makes of the annotations.

        Raises:
            UserError: If class list or file are ambiguous.
        """
        classes, things, stuff = (
            list(self.metainfo.get(key) or ())
            for key in ('classes', 'thing_classes', 'stuff_classes')
        )
        if classes != things + stuff:
            raise UserError(
                f'metainfo of {self.ann_file}: classes must be thing_classes first, '
                f'then the stuff_classes, in this order; they are {classes}, {things} '
                f'and {stuff}. Write classes={(*things, *stuff)}'
            )
        return super().load_data_list()

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Return one image as mmdet does, with the PNG that its annotation names.

        Args:
            raw_data_info: As mmdet gives it.

        Raises:
            UserError: If a segment is of a category that is no class, or is a thing in
                the file and stuff in the class list, or the other way round.
        """
        image = raw_data_info['raw_img_info']['img_id']
        # mmdet hands in the segments of all images that have one of these ids.
        own = [one for one in raw_data_info['raw_ann_info'] if one['image_id'] == image]
        for segment in own:
            category = self.coco.cats[segment['category_id']]
            name, is_thing = category['name'], bool(category['isthing'])
            # Not `metainfo`, which is copied whenever it is asked for.
            wanted = self._metainfo['thing_classes' if is_thing else 'stuff_classes']
            if name not in wanted:
                kind = 'a thing' if is_thing else 'stuff'
                raise UserError(
                    f'{self.ann_file}: the category {name!r} labels segments and is '
                    f'{kind} there (isthing), but not in metainfo, whose classes are '
                    f'{list(self._metainfo["classes"])}. Add it, or make its segments '
                    'void in JSON and PNG'
                )
        info = super().parse_data_info({**raw_data_info, 'raw_ann_info': own})
        if folder := self.data_prefix.get('seg'):
            file = raw_data_info['raw_img_info']['segm_file']
            info['seg_map_path'] = str(Path(folder, file))
        return info


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
        'palette': [*THING_COLOURS, *STUFF_COLOURS],
    }
