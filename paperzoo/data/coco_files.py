"""COCO annotation files as people have them: any encoding, any ids, classes by name.

mmdet's reader trusts ids to be unique and of one type, and counts labels in the file's
order. Here identities are checked when a file is read, and label k is class k of the
class list, whatever the order of the file.
"""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets.api_wrappers import COCO, COCOPanoptic
from mmengine.logging import print_log

from paperzoo.data.formats.folder import decode
from paperzoo.errors import UserError

Content = dict[str, Any]
_RECORDS = {'images': 'image', 'annotations': 'annotation', 'categories': 'category'}


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
        UserError: If the file is no JSON, or an id or a name is ambiguous.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.dataset = read_annotation_file(Path(annotation_file))
                self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

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
    if twice := _twice(names):
        raise UserError(f'metainfo.classes names {twice[0]!r} twice. Name it once')
    known, _ = categories_by_name(api.dataset)
    found = []
    for name in names:
        category = known.get(name, f'(no category {name!r})')
        api.cats.setdefault(category, {'id': category, 'name': name})
        found.append(category)
    return found


def categories_by_name(
    content: Content, where: str = 'the annotation file'
) -> tuple[dict[str, Any], list[str]]:
    """Return the id of each category name, and what is said of categories left out.

    Of categories that share a name one may be labelled; some services write an empty
    root category that is called like a class.

    Args:
        content: Of the file.
        where: The file, for the messages.

    Raises:
        UserError: If two labelled categories share a name.

    Example:
        >>> root, cat = {'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'cat'}
        >>> objects = [{'category_id': 1}]
        >>> categories_by_name({'categories': [root, cat], 'annotations': objects})[0]
        {'cat': 1}
    """
    by_name: dict[str, list[Any]] = {}
    for one in content.get('categories', ()):
        by_name.setdefault(one['name'], []).append(one['id'])
    if all(len(ids) == 1 for ids in by_name.values()):
        return {name: ids[0] for name, ids in by_name.items()}, []
    labelled = {one.get('category_id') for one in objects_of(content)}
    known, notes = {}, []
    for name, ids in by_name.items():
        used = [number for number in ids if number in labelled]
        if len(used) > 1:
            raise UserError(
                f'{where}: the categories with the ids {_some(used)} are both called '
                f'{name!r}. Rename one of them, or give their annotations one '
                'category_id'
            )
        known[name] = (used or ids)[0]
        if others := [number for number in ids if number != known[name]]:
            notes.append(
                f'{where}: the category {name!r} with the id {_some(others)} labels '
                f'nothing and is left out; {known[name]!r} has the name, too'
            )
    return known, notes


def objects_of(content: Content) -> Iterable[dict]:
    """Return the annotations; of a panoptic file, the segments.

    Args:
        content: Of the file.

    Example:
        >>> segments = [{'id': 5, 'category_id': 1}]
        >>> list(objects_of({'annotations': [{'segments_info': segments}]}))
        [{'id': 5, 'category_id': 1}]
    """
    for one in content.get('annotations', ()):
        if 'segments_info' in one:
            yield from one['segments_info']
        else:
            yield one


def read_annotation_file(file: Path) -> Content:
    """Return the content of an annotation file with unique ids of one type.

    Args:
        file: In COCO's format, in UTF-8 or UTF-16, with a byte order mark or without.

    Raises:
        UserError: If it is no JSON, no object with records, or an id is ambiguous.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.json')
        ...     _ = file.write_text('{"images": [{"id": 1}]}', encoding='utf-8-sig')
        ...     read_annotation_file(file)['images']
        [{'id': 1}]
    """
    content = parse(file.read_bytes(), file)
    check_ids(content, file)
    _, notes = categories_by_name(content, str(file))
    for note in notes:
        print_log(note, logger='current', level=30)
    return content


def parse(data: bytes, file: Path) -> Content:
    """Return the JSON object in some bytes.

    Args:
        data: UTF-8 or UTF-16, with a byte order mark or without.
        file: Where they are from, for the messages.

    Raises:
        UserError: If they hold no text, no JSON, or no object.

    Example:
        >>> parse('{"images": []}'.encode('utf-16'), Path('a.json'))
        {'images': []}
    """
    try:
        content = json.loads(decode(data, file))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f'{file} is no JSON ({error}). Copy or export it again') from (
            error
        )
    if not isinstance(content, dict):
        raise UserError(f'{file} is no object with images. Export it in COCO format')
    return content


def check_ids(content: Content, file: Path) -> None:
    """Refuse ids that are missing, given twice, or of another type than their names.

    Annotations none of which has an id are numbered.

    Args:
        content: Of the file; changed where ids are added.
        file: For the messages.

    Raises:
        UserError: If one is so; it names some of them.

    Example:
        >>> try:
        ...     check_ids({'images': [{'id': 3}, {'id': 3}]}, Path('a.json'))
        ... except UserError as error:
        ...     print(error)
        a.json: 2 images have the id 3. Give each its own
    """
    for key in _RECORDS:
        records = content.get(key, [])
        if not isinstance(records, list) or not all(
            isinstance(one, Mapping) for one in records
        ):
            raise UserError(f"{file}: '{key}' must be a list of objects")
    annotations = content.get('annotations', [])
    panoptic = any('segments_info' in one for one in annotations)
    if annotations and not panoptic and not any('id' in one for one in annotations):
        for number, one in enumerate(annotations, start=1):
            one['id'] = number
    ids = {
        key: _ids(content.get(key, []), key, file)
        for key in _RECORDS
        if not (panoptic and key == 'annotations')
    }
    for key, name in (('categories', 'category_id'), ('images', 'image_id')):
        records = objects_of(content) if key == 'categories' else annotations
        _check_type([one.get(name) for one in records], name, ids[key], key, file)


def _ids(records: list[dict], key: str, file: Path) -> list[Any]:
    what = _RECORDS[key]
    missing = [number for number, one in enumerate(records) if 'id' not in one]
    if missing:
        raise UserError(f'{file}: {key}[{missing[0]}] has no id. Give each {what} one')
    ids = [one['id'] for one in records]
    if strange := [one for one in ids if not isinstance(one, int | float | str)]:
        raise UserError(
            f'{file}: the id {strange[0]!r} of an {what} is neither number nor text'
        )
    if len(set(ids)) < len(ids):
        twice = _twice(ids)
        count = ids.count(twice[0])
        raise UserError(
            f'{file}: {count} {key} have the id {_some(twice)}. Give each its own'
        )
    if len({isinstance(one, str) for one in ids}) > 1:
        raise UserError(f'{file}: some ids of {key} are texts, some numbers')
    return ids


def _check_type(
    named: list[Any], name: str, ids: list[Any], key: str, file: Path
) -> None:
    """Refuse texts that name numbers, or numbers that name texts: none would match."""
    if not ids:
        return
    texts = isinstance(ids[0], str)
    wrong = [
        one for one in named if isinstance(one, str) != texts and one is not None
    ]
    if wrong:
        raise UserError(
            f'{file}: {name} of {len(wrong)} annotations is a '
            f'{"number" if texts else "text"} ({wrong[0]!r}), but the ids of {key} are '
            f'{"texts" if texts else "numbers"} ({ids[0]!r}), so none of them match. '
            'Write both alike'
        )


def _twice(values: Sequence[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _some(values: Sequence[Any]) -> str:
    more = ', ...' if len(values) > 5 else ''
    return ', '.join(repr(value) for value in values[:5]) + more
