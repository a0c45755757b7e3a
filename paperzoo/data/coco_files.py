"""COCO annotation files as people have them: any encoding, any ids that are unique.

What is ambiguous is refused when the file is read. Needs no mmdet.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from paperzoo.data.formats.folder import decode, parse_json
from paperzoo.errors import UserError
from paperzoo.utils.files import refuse_irregular
from paperzoo.utils.wording import some

Content = dict[str, Any]
_RECORDS = {'images': 'image', 'annotations': 'annotation', 'categories': 'category'}


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
                f'{where}: the ids {some(map(repr, used))} are both of the category '
                f'{name!r}. Rename one of them, or give their annotations one '
                'category_id'
            )
        known[name] = (used or ids)[0]
        if others := [number for number in ids if number != known[name]]:
            notes.append(
                f'{where}: the category {name!r} with the id {some(map(repr, others))} '
                f'labels nothing and is left out; {known[name]!r} has the name, too'
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
        UserError: If the file is no regular one, no JSON, no object with records, or an
            id is ambiguous.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.json')
        ...     _ = file.write_text('{"images": [{"id": 1}]}', encoding='utf-8-sig')
        ...     read_annotation_file(file)['images']
        [{'id': 1}]
    """
    refuse_irregular(file)
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
        UserError: If `data` is no text, no JSON, or no object.

    Example:
        >>> parse('{"images": []}'.encode('utf-16'), Path('a.json'))
        {'images': []}
    """
    content = parse_json(decode(data, file), file)
    if not isinstance(content, dict):
        raise UserError(
            f'{file} is no object with {", ".join(_RECORDS)}. Export it in COCO format'
        )
    return content


def check_ids(content: Content, file: Path) -> None:
    """Refuse ids that are missing, given twice, or of another type than their names.

    Annotations none of which has an id are numbered.

    Args:
        content: Of the file; changed where ids are added.
        file: For the messages.

    Raises:
        UserError: If an id is so; the message names some of them.

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


def check_segments(content: Content, file: Path) -> None:
    """Refuse a panoptic file in which a pixel could mean two things, or none.

    Args:
        content: Of the file, its ids checked.
        file: For the messages.

    Raises:
        UserError: If an annotation has no segments, a category does not say whether it
            is counted, two annotations are of one image, or a segment has the id 0
            (which is void), an id twice, or an unknown category.

    Example:
        >>> segments = [{'id': 4, 'category_id': 1}, {'id': 4, 'category_id': 1}]
        >>> one = {'image_id': 7, 'segments_info': segments}
        >>> cat = {'id': 1, 'name': 'cat', 'isthing': 1}
        >>> try:
        ...     check_segments({'annotations': [one], 'categories': [cat]}, Path('a'))
        ... except UserError as error:
        ...     print(str(error).partition('.')[0])
        a, image_id 7: two segments have the id 4
    """
    annotations = content.get('annotations', [])
    if any('segments_info' not in one for one in annotations):
        raise UserError(
            f"{file} is no panoptic file, which has 'segments_info' in its "
            'annotations. Give the panoptic_*.json as ann_file'
        )
    categories = content.get('categories', [])
    if silent := [one['name'] for one in categories if 'isthing' not in one]:
        raise UserError(
            f'{file}: the category {silent[0]!r} has no isthing. Write "isthing": 1 '
            'for classes that are counted (things), 0 for those that are not (stuff)'
        )
    if twice := _twice([one['image_id'] for one in annotations]):
        raise UserError(
            f'{file}: two annotations are of the image_id {some(map(repr, twice))}. '
            'Write all segments of an image into one'
        )
    known = {one['id'] for one in categories}
    for one in annotations:
        infos = one['segments_info']
        ids = {info['id'] for info in infos}
        where = f'{file}, image_id {one["image_id"]}'
        if len(ids) < len(infos):
            double = _twice([info['id'] for info in infos])
            raise UserError(
                f'{where}: two segments have the id {some(map(repr, double))}. Pixels '
                'of this id belong to neither. Give each segment its own id in JSON '
                'and PNG'
            )
        for info in infos:
            if info['id'] == 0 or info['category_id'] not in known:
                raise UserError(
                    f'{where}: {dict(info)} has an unknown category_id, or the id 0, '
                    'which means void. Correct the file'
                )


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
            f'{file}: {count} {key} have the id {some(map(repr, twice))}. Give each '
            'its own'
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
    wrong = [one for one in named if isinstance(one, str) != texts and one is not None]
    if wrong:
        raise UserError(
            f'{file}: {name} of {len(wrong)} annotations is a '
            f'{"number" if texts else "text"} ({wrong[0]!r}), but the ids of {key} are '
            f'{"texts" if texts else "numbers"} ({ids[0]!r}), so none of them match. '
            'Write both alike'
        )


def _twice(values: Sequence[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]
