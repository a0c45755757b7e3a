"""Tables that name the classes of label maps, and tell their values or colours."""

import csv
import io
from pathlib import Path, PurePosixPath

from paperzoo.data.formats.folder import Folder
from paperzoo.errors import UserError

Colour = tuple[int, int, int]
Value = int | Colour
Row = tuple[str, Value | None]

_TABLES = ('labelmap.txt', '_classes.csv', 'class_dict.csv', 'classes.txt',
           'codes.txt', 'labels.txt')  # fmt: skip


def read_table(folder: Folder) -> tuple[list[Row], str]:
    """Return the classes, each with its value or colour if told, and their file.

    Args:
        folder: With or without a table.

    Raises:
        UserError: If a line cannot be read, or two classes have one value or colour.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.mask_tables import read_table
        >>> _ = (root / 'labelmap.txt').write_text('cat:255,0,0')
        >>> read_table(Folder(root))
        ([('cat', (255, 0, 0))], 'labelmap.txt')
    """
    for name in _TABLES:
        files = [one for one in folder.files if PurePosixPath(one).name == name]
        if files:
            file = min(files, key=lambda one: one.count('/'))
            text = folder.read_text(file)
            read = _read_csv if name.endswith('.csv') else _read_lines
            rows = read(text, folder.path(file))
            _refuse_shared(rows, folder.path(file))
            return rows, file
    return [], ''


def _refuse_shared(rows: list[Row], path: Path) -> None:
    """Refuse a value or colour of two classes."""
    named: dict[Value, str] = {}
    for name, value in rows:
        if value is not None and (other := named.setdefault(value, name)) != name:
            raise UserError(
                f'{path}: {other!r} and {name!r} both have {value}. Give each class '
                'its own value or colour'
            )


def _colour(cells: list[str]) -> Colour:
    red, green, blue = map(int, cells)
    if not all(0 <= one <= 255 for one in (red, green, blue)):
        raise ValueError
    return red, green, blue


def _read_lines(text: str, path: Path) -> list[Row]:
    """Read one name a line, or CVAT's `name:r,g,b:parts:actions`."""
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        name, _, rest = line.partition(':')
        colour = rest.split(':')[0].split(',')
        if path.name != 'labelmap.txt':
            rows.append((line, None))
            continue
        try:
            rows.append((name, _colour(colour)))
        except ValueError:
            raise UserError(f'{path}, line {number}: no name:r,g,b') from None
    return rows


def _read_csv(text: str, path: Path) -> list[Row]:
    """Read Roboflow's `Pixel Value, Class`, or `name, r, g, b`."""
    rows: list[Row] = []
    table = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    for number, row in enumerate(table[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        try:
            if len(cells) == 2:
                rows.append((cells[1], int(cells[0])))
            else:
                rows.append((cells[0], _colour(cells[1:4])))
        except ValueError:
            raise UserError(
                f'{path}, line {number}: neither value, name nor name, r, g, b'
            ) from None
    return rows
