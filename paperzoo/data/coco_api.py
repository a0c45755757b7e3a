"""mmdet's readers of COCO files, with label k for class k of the class list.

mmdet itself trusts ids to be unique and of one type, and counts labels in the file's
order.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets.api_wrappers import COCO, COCOPanoptic

from paperzoo.data.coco_files import (
    categories_by_name,
    check_segments,
    read_annotation_file,
)
from paperzoo.errors import UserError


class NamedCOCO(COCO):
    """mmdet's COCO file, its ids checked and its categories found by name.

    Args:
        annotation_file: The file; None for none.

    Raises:
        UserError: If the file is no JSON, or an id or a name is ambiguous.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.dataset = read_annotation_file(Path(annotation_file))
                self.createIndex()
            # A new dict is as good as the old one to who holds none yet.
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self, cat_names: Any = (), sup_names: Any = (), cat_ids: Any = ()
    ) -> list[Any]:
        """Return the ids of categories; those of names in the order of the names."""
        if not cat_names or isinstance(cat_names, str):
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        return named_ids(self, cat_names)

    def loadCats(self, ids: Any = ()) -> list[dict]:  # noqa: N802
        """Return categories; whatever is no list is one id, also a text or fraction."""
        several = isinstance(ids, list | tuple | set)
        return super().loadCats(ids if several else [ids])


class NamedCOCOPanoptic(COCOPanoptic):
    """mmdet's panoptic COCO file, its ids checked and its categories found by name.

    Args:
        annotation_file: The file; None for none.

    Raises:
        UserError: If the file is no JSON, or an id, a name or a segment is ambiguous.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.dataset = read_annotation_file(Path(annotation_file))
                check_segments(self.dataset, Path(annotation_file))
                self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def createIndex(self) -> None:  # noqa: N802
        """Create mmdet's index, with the PNG that each annotation names."""
        super().createIndex()
        for one in self.dataset.get('annotations', ()):
            if one['image_id'] in self.imgs and 'file_name' in one:
                self.imgs[one['image_id']]['segm_file'] = one['file_name']

    def get_cat_ids(
        self, cat_names: Any = (), sup_names: Any = (), cat_ids: Any = ()
    ) -> list[Any]:
        """Return the ids of categories; those of names in the order of the names."""
        if not cat_names or isinstance(cat_names, str):
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        return named_ids(self, cat_names)


def named_ids(api: COCO, names: Sequence[str]) -> list[Any]:
    """Return a category's id for each class name, in this order.

    A class that the file does not have keeps its place, with an id of its own: labels
    of the classes behind it do not move.

    Args:
        api: The file.
        names: Of the classes.

    Raises:
        UserError: If a name is given twice, or two labelled categories have it.

    Example:
        >>> api = NamedCOCO()
        >>> api.dataset = {'categories': [{'id': 4, 'name': 'dog'},
        ...                               {'id': 9, 'name': 'cat'}]}
        >>> api.createIndex()
        creating index...
        index created!
        >>> named_ids(api, ['cat', 'dog'])
        [9, 4]
    """
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise UserError(f'metainfo.classes names {twice[0]!r} twice. Name it once')
    known, _ = categories_by_name(api.dataset)
    found = []
    for name in names:
        category = known.get(name, f'(no category {name!r})')
        api.cats.setdefault(category, {'id': category, 'name': name})
        found.append(category)
    return found
