"""Images with one class each: a folder for each class, or a table.

| layout | |
| --- | --- |
| `CLASS/*.png` | no split |
| `train/CLASS/*.png`, `val/...`, `test/...` | with splits |
| `train.csv`, ... with the columns filename and label, `images/` | tables |
"""

import csv
import io
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
        for file in tables:
            _read_table(folder, file, found)
    else:
        for name in folder.images:
            parts = PurePosixPath(name).parts[:-1]
            split = split_named(parts[0]) if parts else ''
            label = '/'.join(parts[1:] if split else parts)
            if not label:
                found.left_out.append(f'{name}: it lies in no folder of a class')
                continue
            if split:
                found.files.setdefault(split, (parts[0],))
            _add(folder, name, label, split, found)
    found.classes = tuple(sorted({one.name for one in found.images}))
    return found.checked()


def _tables(folder: Folder) -> list[str]:
    found = []
    for one in folder.ending('.csv'):
        head = folder.read_text(one).partition('\n')[0]
        if _COLUMNS.issubset(cell.strip() for cell in head.split(',')):
            found.append(one)
    return found


def _read_table(folder: Folder, file: str, found: LabelledSet) -> None:
    rows = csv.DictReader(io.StringIO(folder.read_text(file)), skipinitialspace=True)
    split = split_of(PurePosixPath(file).name)
    prefixes: set[str | None] = set()
    for number, row in enumerate(rows, 2):
        written, label = row.get('filename') or '', (row.get('label') or '').strip()
        name = folder.image_of(written.strip(), file)
        if not label or name is None:
            what = 'label' if not label else f'image {written!r} in the folder'
            found.left_out.append(f'{folder.path(file)}, line {number}: no {what}')
            continue
        end = written.strip()
        prefixes.add(name.removesuffix(end) if name.endswith(end) else None)
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
