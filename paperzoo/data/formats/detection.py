"""Detection and instance sets in the formats of others, as data sets of mmdet."""

from collections import Counter
from pathlib import Path
from typing import Any

# isort: split
from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from paperzoo.data.formats.description import LabelledImage, LabelledSet
from paperzoo.data.formats.recognise import read_folder
from paperzoo.data.formats.splitting import images_of, part_of
from paperzoo.data.panoptic import CocoPanopticDataset
from paperzoo.data.paths import resolve
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS


class LabelledFolderDataset(BaseDetDataset):
    """Images and objects of a folder, as the reader of its format finds them.

    An evaluator without `ann_file` takes the truth from it: `FastCocoMetric(metric=
    'bbox')`, where the test pipeline packs `instances` (`PackDetInputs.meta_keys`).

    Args:
        data_root: The folder; `data/...` follows `$PAPERZOO_DATA`.
        split: `'train'`, `'val'`, `'test'`, or `''` for all images.
        val: Share of the training images that are for validation instead, chosen by
            `seed`; 0 leaves the splits as the folder has them.
        seed: Of the choice.
        kwargs: Further arguments of mmdet's `BaseDetDataset`. `metainfo` names the
            classes in their order; by default they are those of the folder. Objects of
            others are left out.

    Attributes:
        folder_classes: The classes of the folder, of all splits.
        other_names: How many objects of the split have a name that is no class.
        left_out: What of the folder cannot be used, and why.

    Raises:
        UserError: If the folder cannot be read, or the split has no images.
    """

    FORMAT = ''

    def __init__(
        self,
        data_root: str,
        *,
        split: str = '',
        val: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.split, self.val, self.seed = split, val, seed
        self.folder_classes: tuple[str, ...] = ()
        self.other_names: Counter[str] = Counter()
        self.left_out: list[str] = []
        super().__init__(data_root=resolve(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return mmdet's records of the images of the split."""
        found = read_folder(self.data_root, self.FORMAT)
        tell_left_out(found)
        classes = self._metainfo.setdefault('classes', found.classes)
        label_of = {name: label for label, name in enumerate(classes)}
        images = images_of(found, self.split, self.val, self.seed)
        self.folder_classes, self.left_out = found.classes, found.left_out
        names = Counter(one.name for image in images for one in image.objects)
        self.other_names = Counter(
            {name: names[name] for name in names if name not in label_of}
        )
        return [
            _record(image, number, label_of) for number, image in enumerate(images, 1)
        ]

    def filter_data(self) -> list[dict]:
        """Return the records without those that `filter_cfg` leaves out.

        Raises:
            UserError: If no record is left.
        """
        limits = self.filter_cfg or {}
        if self.test_mode or not limits:
            return self.data_list
        least = 1 if limits.get('filter_empty_gt', False) else 0
        kept = [
            one
            for one in self.data_list
            if len(one['instances']) >= least
            and min(one['width'], one['height']) >= limits.get('min_size', 0)
        ]
        if not kept:
            raise UserError(
                f'{self.data_root}: no image of {len(self.data_list)} is left to train '
                f'on by filter_cfg={dict(limits)}; the classes are '
                f'{", ".join(self.metainfo["classes"][:8])}'
            )
        return kept


def tell_left_out(found: LabelledSet, most: int = 3) -> None:
    """Log how much of a folder cannot be used, with examples.

    Args:
        found: What a reader found.
        most: How many examples.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.data.formats.description import LabelledSet
        >>> from paperzoo.data.formats.detection import tell_left_out
        >>> tell_left_out(LabelledSet('yolo', Path('cells')))  # nothing to tell
    """
    if found.left_out:
        shown = '\n'.join(f'  {one}' for one in found.left_out[:most])
        print_log(
            f'{found.root}: {len(found.left_out)} labels or images are left out, such '
            f'as\n{shown}',
            logger='current',
        )


def _record(image: LabelledImage, number: int, label_of: dict[str, int]) -> dict:
    instances = []
    for one in image.objects:
        if one.name not in label_of:
            continue
        left, top, right, bottom = one.box
        corners = [left, top, right, top, right, bottom, left, bottom]
        instances.append(
            {
                'bbox': list(one.box),
                'bbox_label': label_of[one.name],
                'ignore_flag': int(one.crowd),
                'mask': [corners] if one.mask is None else one.mask,
            }
        )
    return {
        'img_id': number,
        'img_path': str(image.path),
        'width': image.width,
        'height': image.height,
        'instances': instances,
    }


@DATASETS.register_module()
class YOLODataset(LabelledFolderDataset):
    """A folder with YOLO's label files (see `paperzoo.data.formats.yolo`).

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> from paperzoo.data.formats.detection import YOLODataset
        >>> _ = (root / 'a.txt').write_text('0 0.5 0.5 0.2 0.4')
        >>> _ = (root / 'classes.txt').write_text('cat')
        >>> YOLODataset(str(root)).get_cat_ids(0)
        [0]
    """

    FORMAT = 'yolo'


@DATASETS.register_module()
class VOCDataset(LabelledFolderDataset):
    """A folder with VOC's XML files (see `paperzoo.data.formats.voc`).

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> from paperzoo.data.formats.detection import VOCDataset
        >>> _ = (root / 'a.xml').write_text(
        ...     '<annotation><object><name>cat</name><bndbox><xmin>8</xmin>'
        ...     '<ymin>3</ymin><xmax>12</xmax><ymax>7</ymax></bndbox></object>'
        ...     '</annotation>')
        >>> VOCDataset(str(root)).get_cat_ids(0)
        [0]
    """

    FORMAT = 'voc'


@DATASETS.register_module()
class LabelMeDataset(LabelledFolderDataset):
    """A folder with LabelMe's JSON files (see `paperzoo.data.formats.labelme`).

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> from paperzoo.data.formats.detection import LabelMeDataset
        >>> _ = (root / 'a.json').write_text('''{"imagePath": "a.png", "shapes": [{
        ...     "label": "cat", "shape_type": "rectangle",
        ...     "points": [[8, 3], [12, 7]]}]}''')
        >>> LabelMeDataset(str(root)).get_cat_ids(0)
        [0]
    """

    FORMAT = 'labelme'


@DATASETS.register_module()
class CVATDataset(LabelledFolderDataset):
    """A folder with CVAT's XML file for images (see `paperzoo.data.formats.cvat`).

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> from paperzoo.data.formats.detection import CVATDataset
        >>> _ = (root / 'annotations.xml').write_text(
        ...     '<annotations><image name="a.png" width="20" height="10">'
        ...     '<box label="cat" xtl="8" ytl="3" xbr="12" ybr="7"/></image>'
        ...     '</annotations>')
        >>> CVATDataset(str(root)).get_cat_ids(0)
        [0]
    """

    FORMAT = 'cvat'


@DATASETS.register_module()
class CocoFolderDataset(LabelledFolderDataset):
    """A folder with COCO's JSON files, whatever their ids, split if it is not.

    For clean files with splits of their own `CocoDataset` does.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> from paperzoo.data.formats.detection import CocoFolderDataset
        >>> _ = (root / 'a.json').write_text('''{
        ...     "images": [{"id": "x", "file_name": "a.png"}],
        ...     "annotations": [
        ...         {"image_id": "x", "category_id": 5, "bbox": [8, 3, 4, 4]}],
        ...     "categories": [{"id": 5, "name": "cat"}]}''')
        >>> CocoFolderDataset(str(root)).get_cat_ids(0)
        [0]
    """

    FORMAT = 'coco'


@DATASETS.register_module()
class CocoPanopticFolderDataset(CocoPanopticDataset):
    """A panoptic COCO set of one file, of which a share is for validation.

    Args:
        split: `'train'` or `'val'`.
        val: Share of the images that are for validation.
        seed: Of the choice.
        kwargs: Further arguments of `CocoPanopticDataset`.

    Example:
        >>> from paperzoo.errors import UserError
        >>> where = {'ann_file': 'a.json', 'data_root': '/nowhere'}
        >>> where['data_prefix'] = {'img': 'images', 'seg': 'maps'}
        >>> try:
        ...     CocoPanopticFolderDataset(split='val', val=0.2, **where)
        ... except UserError as error:
        ...     print(str(error).partition(' (')[0])
        data set not found: data_root='/nowhere'
    """

    def __init__(self, *, split: str, val: float, seed: int = 0, **kwargs: Any) -> None:
        self.split, self.val, self.seed = split, val, seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Return mmdet's records of the images of the split."""
        records = super().load_data_list()
        names = [
            Path(one['img_path']).relative_to(self.data_root).as_posix()
            for one in records
        ]
        none = [''] * len(records)
        return part_of(records, names, none, self.split, self.val, self.seed)
