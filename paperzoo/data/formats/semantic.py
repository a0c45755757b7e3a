"""Images with label maps of any kind, as a data set and a transform of mmseg."""

from typing import Any

import numpy as np

# isort: split
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from paperzoo.data.formats.description import distinct_colours
from paperzoo.data.formats.masks import VOID, code_of, codes, read_map
from paperzoo.data.formats.recognise import read_folder
from paperzoo.data.formats.splitting import images_of
from paperzoo.data.paths import resolve
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class MaskFolderDataset(BaseSegDataset):
    """A folder of images and label maps (see `paperzoo.data.formats.masks`).

    Its pipeline loads the maps by `LoadMappedAnnotations`.

    Args:
        data_root: The folder; `data/...` follows `$PAPERZOO_DATA`.
        split: `'train'`, `'val'`, `'test'`, or `''` for all images.
        val: Share of the training images that are for validation instead, chosen by
            `seed`; 0 leaves the splits as the folder has them.
        seed: Of the choice.
        metainfo: Names of the classes, in the order of their raw values, and their
            colours; by default those that the folder tells.
        kwargs: Further arguments of mmseg's `BaseSegDataset`.

    Raises:
        UserError: If the folder cannot be read, names another number of classes, or
            the split has no images.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from paperzoo.data.formats.semantic import MaskFolderDataset
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for folder in ('images', 'masks'):
        ...     (root / folder).mkdir()
        ...     Image.new('L', (20, 10)).save(root / folder / 'a.png')
        >>> MaskFolderDataset(str(root)).metainfo['classes']
        ('class_0',)
    """

    def __init__(
        self,
        data_root: str,
        *,
        split: str = '',
        val: float = 0.0,
        seed: int = 0,
        metainfo: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = read_folder(resolve(data_root), 'masks')
        palette = found.palette or distinct_colours(len(found.classes))
        own = {'classes': found.classes, 'palette': list(palette)}
        meta = {**own, **(metainfo or {})}
        if len(meta['classes']) != len(found.classes):
            raise UserError(
                f'{found.root}: metainfo names {len(meta["classes"])} classes, the '
                f'label maps have {len(found.classes)}: {", ".join(found.classes[:8])}'
            )
        self._images = images_of(found, split, val, seed)
        self._values = (found.pixel_values, found.ignored)
        super().__init__(data_root=str(found.root), metainfo=meta, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return mmseg's records of the images of the split."""
        values, ignored = self._values
        return [
            {
                'img_path': str(one.path),
                'seg_map_path': str(one.label_map),
                'pixel_values': values,
                'ignored_values': ignored,
                'label_map': None,
                'reduce_zero_label': False,
                'seg_fields': [],
            }
            for one in self._images
        ]


@TRANSFORMS.register_module()
class LoadMappedAnnotations(LoadAnnotations):
    """Load a label map whose raw values or colours stand for the classes.

    It takes `pixel_values` and `ignored_values` from the record of the image.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from paperzoo.data.formats.semantic import LoadMappedAnnotations
        >>> path = pathlib.Path(tempfile.mkdtemp(), 'a.png')
        >>> Image.new('L', (2, 1), 255).save(path)
        >>> record = {'seg_map_path': str(path), 'seg_fields': []}
        >>> record |= {'pixel_values': (0, 255), 'ignored_values': ()}
        >>> LoadMappedAnnotations()(record)['gt_seg_map'].tolist()
        [[1, 1]]
    """

    def _load_seg_map(self, results: dict) -> None:
        values, ignored = results['pixel_values'], results['ignored_values']
        path = results['seg_map_path']
        coloured = not isinstance(values[0], int)
        read = read_map(path, coloured)
        if (read.ndim == 3) != coloured:
            raise UserError(
                f'{path}: the label map {"is not" if coloured else "is"} coloured, '
                'unlike the others of its folder. Save all in one kind'
            )
        raw = codes(read)
        known = np.array([code_of(one) for one in (*values, *ignored)])
        labels = np.array([*range(len(values)), *[VOID] * len(ignored)], np.uint8)
        order = known.argsort()
        place = np.searchsorted(known[order], raw).clip(max=len(known) - 1)
        wrong = known[order][place] != raw
        if wrong.any():
            row, column = map(int, np.argwhere(wrong)[0])
            raise UserError(
                f'{path}, row {row}, column {column}: {int(raw[row, column])} is the '
                f'value of no class; they have {list(values)}'
            )
        results['gt_seg_map'] = labels[order][place]
        results['seg_fields'].append('gt_seg_map')
