"""Images with one class each: a folder for each class, or a table.

| layout | |
| --- | --- |
| `CLASS/*.png` | no split |
| `train/CLASS/*.png`, `val/...`, `test/...` | with splits |
| `train.csv`, ... with the columns filename and label, `images/` | tables |

`train` beside `car` and `bus`, each with its images in it, is a class, too.
"""

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from paperzoo.data.formats.description import LabelledImage, LabelledSet
from paperzoo.data.formats.folder import Folder, image_size, split_named, split_of
from paperzoo.errors import UserError

_COLUMNS = {'filename', 'label'}


def is_class_folders(folder: Folder) -> bool:
    """Return whether a folder has tables of classes, or images in two folders.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.class_folders import is_class_folders
        >>> _ = (root / 'train.csv').write_text('filename,label')
        >>> is_class_folders(Folder(root))
        True
    """
    if _tables(folder):
        return True
    return len({PurePosixPath(one).parent for one in folder.images}) > 1


def read_class_folders(folder: Folder) -> LabelledSet:
    """Read images and their classes.

    Args:
        folder: Of one of the layouts above.

    Raises:
        UserError: If a table cannot be read, or no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.class_folders import read_class_folders
        >>> for name in ('cat', 'dog'):
        ...     (root / name).mkdir()
        ...     Image.new('L', (20, 10)).save(root / name / 'a.png')
        >>> read_class_folders(Folder(root)).classes
        ('cat', 'dog')
    """
    found = LabelledSet('class_folders', folder.root)
    if tables := _tables(folder):
        lines: dict[str, str] = {}
        # Tables that tell a split come first: others may list the same images again.
        for file in sorted(tables, key=lambda one: not _split(one)):
            _read_table(folder, file, tables[file], lines, found)
    else:
        classes = _named_as_splits(folder)
        for name in folder.images:
            parts = PurePosixPath(name).parts[:-1]
            split = split_named(parts[0]) if parts else ''
            if split and parts[0] in classes:
                split = ''
            label = '/'.join(parts[1:] if split else parts)
            if not label:
                found.left_out.append(f'{name}: it lies in no folder of a class')
                continue
            if split:
                found.files.setdefault(split, (parts[0],))
            _add(folder, name, label, split, found)
    found.classes = tuple(sorted({one.name for one in found.images}))
    return found.checked()


def _named_as_splits(folder: Folder) -> set[str]:
    """Return the folders that have the name of a split, but are classes like others."""
    parents = {PurePosixPath(one).parent.parts for one in folder.images}
    deeper = {parts[0] for parts in parents if len(parts) > 1}
    classes = {parts[0] for parts in parents if len(parts) == 1} - deeper
    named = {one for one in classes if split_named(one)}
    return named if classes - named else set()


def _tables(folder: Folder) -> dict[str, str]:
    """Return the tables of classes, and what is between the cells of each."""
    found = {}
    for one in folder.ending('.csv'):
        head = folder.read_text(one).splitlines()[:1]
        for delimiter in ',;\t':
            with suppress(csv.Error):
                if any(map(_COLUMNS.issubset, _rows(head, delimiter))):
                    found[one] = delimiter
    return found


def _rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        yield [cell.strip() for cell in row]


def _split(table: str) -> str:
    return split_of(PurePosixPath(table).name)


def _read_table(
    folder: Folder, file: str, delimiter: str, lines: dict[str, str], found: LabelledSet
) -> None:
    """Add the images of a table.

    Args:
        folder: Of the table.
        file: The table.
        delimiter: Between its cells.
        lines: Of each image the line that names it; grows.
        found: Grows.
    """
    split = _split(file)
    prefixes: set[str | None] = set()
    try:
        head, *rows = _rows(folder.read_text(file).splitlines(), delimiter)
    except csv.Error as error:
        raise UserError(f'{folder.path(file)} is no table ({error})') from error
    for number, cells in enumerate(rows, 2):
        if not any(cells):
            continue
        row = dict(zip(head, cells, strict=False))
        written, label = row.get('filename', ''), row.get('label', '')
        place = f'{folder.path(file)}, line {number}'
        name = folder.image_of(written, file)
        if not label or name is None:
            what = 'label' if not label else f'image {written!r} in the folder'
            found.left_out.append(f'{place}: no {what}')
            continue
        if name in lines:
            found.left_out.append(f'{place}: {name} has a class already, {lines[name]}')
            continue
        lines[name] = f'{label!r} of {PurePosixPath(file).name}, line {number}'
        prefixes.add(name.removesuffix(written) if name.endswith(written) else None)
        _add(folder, name, label, split, found)
    if len(prefixes) == 1 and None not in prefixes:
        found.files[split] = (file, str(*prefixes))


def _add(folder: Folder, name: str, label: str, split: str, found: LabelledSet) -> None:
    try:
        size = image_size(folder.path(name))
    except UserError as error:
        found.left_out.append(str(error))
        return
    found.images.append(
        LabelledImage(folder.path(name), *size, split=split, name=label)
    )
