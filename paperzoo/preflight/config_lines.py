"""Which line of which file a name in a config comes from."""

import ast
import os
import re
from pathlib import Path

from mmengine.config import Config

from paperzoo.errors import UserError


def place_of(cfg: Config, name: str) -> str:
    """Return `file:line` of a name, or the config's file if it is not written there.

    The bases are searched after the file itself, as they are what it overrides.

    Args:
        cfg: The config.
        name: A type or the name of an argument.

    Example:
        >>> from mmengine.config import Config
        >>> place_of(Config({'model': {'type': 'FCOS'}}), 'FCOS')
        'the config'
    """
    if cfg.filename is None:
        return 'the config'
    # A number would be found anywhere.
    if not name or name.isdigit():
        return cfg.filename
    word = re.compile(rf'(?<![\w.]){re.escape(name)}(?!\w)')
    for file in _chain(Path(cfg.filename)):
        for number, line in enumerate(_lines(file), start=1):
            if word.search(line.partition('#')[0]):
                return f'{file}:{number}'
    return f'{cfg.filename} (or --cfg-options)'


def _chain(file: Path) -> list[Path]:
    """Return a config file and its bases, the nearest first."""
    found = [file]
    for one in found:  # grows while it is walked
        found += [base for base in _bases(one) if base not in found]
    return found


def refuse_circle(file: Path) -> None:
    """Refuse a config that inherits itself; MMEngine would read until it falls over.

    Args:
        file: The config.

    Raises:
        UserError: If a file inherits from itself, maybe through others; the message
            names the files in their order. Also if a base is no text.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, 'a.py')
        ...     _ = file.write_text("_base_ = ['a.py']")
        ...     try:
        ...         refuse_circle(file)
        ...     except ValueError as error:
        ...         print(str(error).partition(':')[0])
        configs inherit each other in a circle
    """
    whole: set[Path] = set()

    def visit(one: Path, above: list[Path]) -> None:
        if one in above:
            circle = [*above[above.index(one) :], one]
            named = ' -> '.join(f"'{each}'" for each in circle)
            raise UserError(
                f'configs inherit each other in a circle: {named}. Take one base out'
            )
        if one not in whole:
            for base in _bases(one):
                visit(Path(os.path.normpath(base)), [*above, one])
            whole.add(one)

    visit(Path(os.path.normpath(file)), [])


def _bases(file: Path) -> list[Path]:
    if file.suffix != '.py':
        return []
    try:
        tree = ast.parse(file.read_text(encoding='utf-8'))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []
    named: list[Path] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigns_base(node):
            named += _text_bases(file, node.value)
        elif isinstance(node, ast.With):
            named += [
                _imported_file(file, one)
                for one in node.body
                if isinstance(one, ast.ImportFrom) and one.level
            ]
    return [path for path in named if path.is_file()]


def _assigns_base(node: ast.Assign) -> bool:
    return any(isinstance(one, ast.Name) and one.id == '_base_' for one in node.targets)


def _text_bases(file: Path, value: ast.expr) -> list[Path]:
    from importlib.util import find_spec

    try:
        written = ast.literal_eval(value)
    except (ValueError, TypeError):  # computed, or nothing that Python can make
        return []
    names = written if isinstance(written, list) else [written]
    if not all(isinstance(name, str) for name in names):
        raise UserError(
            f"config '{file}', line {value.lineno}: _base_ = {ast.unparse(value)}: it "
            "must be the path of a config, or a list of them: _base_ = ['base.py']"
        )
    paths = []
    for name in names:
        package, mark, inner = name.partition('::')
        spec = find_spec(package) if mark and package.isidentifier() else None
        if spec and spec.origin:
            paths.append(Path(spec.origin).parent / '.mim' / 'configs' / inner)
        else:
            paths.append(file.parent / name)
    return paths


def _imported_file(file: Path, node: ast.ImportFrom) -> Path:
    # Not `parents`, which end where the name of a file begins.
    folder = file.parent.joinpath(*['..'] * (node.level - 1))
    return folder.joinpath(*(node.module or '').split('.')).with_suffix('.py')


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return []
