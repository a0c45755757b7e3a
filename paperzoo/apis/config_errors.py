"""What is wrong with a config that cannot be read: file, line, and the line itself."""

import ast
import json
import linecache
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError
from paperzoo.utils.wording import some

if TYPE_CHECKING:
    from mmengine.config import Config

# The functions of mmengine that read a config, named `filename`, and its bases.
_READERS = ('_file2dict', '_parse_lazy_import')


@contextmanager
def reading_explained(config: Path) -> Iterator[None]:
    """Say in one message why a config, or one that it inherits, cannot be read.

    Args:
        config: The file that is read inside the context.

    Raises:
        UserError: If anything goes wrong; the message has the file, the line and its
            text.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.apis.config_errors import reading_explained
        >>> with reading_explained(Path('a.py')):
        ...     raise RecursionError
        Traceback (most recent call last):
        paperzoo.errors.UserError: config 'a.py': RecursionError
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Anything: a config is a program.
        raise UserError(_why(config, error)) from error


def _why(config: Path, error: Exception) -> str:
    files = _files(error.__traceback__) or [str(config)]
    shown = [_same(config, file) for file in files]
    chain = ''.join(f"\n  inherited by '{file}'" for file in reversed(shown[:-1]))
    return f"config '{shown[-1]}'{_problem(files[-1], error)}{chain}"


def _files(traceback: TracebackType | None) -> list[str]:
    """Return the configs that were being read, the inherited ones last."""
    # A function that raises again what it has caught comes twice.
    frames: dict[FrameType, None] = {}
    while traceback is not None:
        frames[traceback.tb_frame] = None
        traceback = traceback.tb_next
    return [
        str(frame.f_locals['filename'])
        for frame in frames
        if frame.f_code.co_name in _READERS
    ]


def _same(config: Path, file: str) -> str:
    """Return a file as the user has named it, if it is that."""
    return str(config) if Path(file).absolute() == config.absolute() else file


def _problem(file: str, error: Exception) -> str:
    text = ' '.join(str(error).split())[:400]
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
        return f', line {line}: {error.msg}{_line(file, line, error.text)}'
    if isinstance(error, UnicodeDecodeError):
        line = _bad_line(file)
        return f', line {line}: it is not UTF-8. Save it as UTF-8'
    if isinstance(error, json.JSONDecodeError):
        return f', line {error.lineno}: {error.msg}{_line(file, error.lineno)}'
    if isinstance(error, FileNotFoundError) or 'not found! It means' in text:
        missing = text.partition(' not found!')[0].removeprefix('file ').strip('"')
        return f': a base of it is missing: {missing.replace(chr(34), chr(39))}'
    if mark := getattr(error, 'problem_mark', None):  # of YAML
        said = getattr(error, 'problem', None) or text
        return f', line {mark.line + 1}: {said}{_line(file, mark.line + 1)}'
    said = f'{type(error).__name__}: {text}' if text else type(error).__name__
    if line := _executed_line(file, error.__traceback__):
        return f', line {line}: {said}{_line(file, line)}'
    return f': {said}'


def _line(file: str, number: int, given: str | None = None) -> str:
    text = (given or linecache.getline(file, number)).strip()
    return f'\n  {text[:200]}' if text else ''


def _bad_line(file: str) -> int:
    data = Path(file).read_bytes()
    try:
        data.decode('utf-8')
    except UnicodeDecodeError as error:
        return data[: error.start].count(b'\n') + 1
    return 0


def _executed_line(file: str, traceback: TracebackType | None) -> int:
    """Return the line of a config at which its code failed, or 0."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def merge(cfg: 'Config', options: Mapping[str, Any]) -> None:
    """Override settings of a config.

    Args:
        cfg: Changes.
        options: By dotted key.

    Raises:
        UserError: If a key goes through a value that is neither a dict nor a list; the
            message names the key.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.config_errors import merge
        >>> cfg = Config(dict(model=dict(depth=50)))
        >>> merge(cfg, {'model.depth': 18})
        >>> cfg.model.depth
        18
        >>> merge(cfg, {'model.depth.x': 18})
        Traceback (most recent call last):
        paperzoo.errors.UserError: --cfg-options model.depth.x=18: ...
    """
    try:
        cfg.merge_from_dict(dict(options))
    except Exception as error:
        raise UserError(_which(cfg, options, error)) from error


def _which(cfg: 'Config', options: Mapping[str, Any], error: Exception) -> str:
    for key, value in options.items():
        try:
            cfg.copy().merge_from_dict({key: value})
        except Exception as own:
            text = ' '.join(str(own).split())[:300]
            return (
                f'--cfg-options {key}={value}: the config has no place for it: {text}'
            )
    return f'--cfg-options: {error}'


def refuse_objects(cfg: 'Config') -> None:
    """Refuse a config with a value that cannot be written down, such as a class.

    Args:
        cfg: The config.

    Raises:
        UserError: If there is one; the message names its key.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.config_errors import refuse_objects
        >>> refuse_objects(Config(dict(model=dict(type=len))))
        Traceback (most recent call last):
        paperzoo.errors.UserError: config: model.type = <built-in function len>: ...
    """
    if wrong := list(_objects(cfg.to_dict(), '')):
        raise UserError(
            f'{cfg.filename or "config"}: {some(wrong)}: a config is written with its '
            'texts, numbers, lists and dicts, and with nothing else. Instead of a '
            'class give its name, and in custom_imports the module that registers it'
        )


def _objects(node: Any, key: str) -> Iterator[str]:
    inner = list(node.items()) if isinstance(node, dict) else []
    if isinstance(node, list | tuple):
        inner = list(enumerate(node))
    elif not isinstance(node, dict | str):
        try:
            ast.parse(str(node))
        except SyntaxError:
            yield f'{key} = {" ".join(str(node).split())[:60]}'
    for name, value in inner:
        yield from _objects(value, f'{key}.{name}' if key else str(name))


def import_custom(cfg: 'Config') -> None:
    """Import the modules of `custom_imports`.

    MMEngine does so for text configs only, when it reads them.

    Args:
        cfg: With or without `custom_imports`.

    Raises:
        UserError: If a module cannot be imported, or `custom_imports` is no dict of
            imports.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.config_errors import import_custom
        >>> import_custom(Config(dict(custom_imports=dict(imports=['no_such']))))
        Traceback (most recent call last):
        paperzoo.errors.UserError: ...custom_imports: no_such cannot be imported: ...
    """
    given = cfg.get('custom_imports')
    if not given:
        return
    place = f'{cfg.filename or "config"}: custom_imports'
    names = given.get('imports') if isinstance(given, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or set(given) - {
        'imports',
        'allow_failed_imports',
    }:
        raise UserError(
            f"{place} = {given!r}: write custom_imports=dict(imports=['my_module'])"
        )
    from importlib import import_module

    for name in names:
        try:
            import_module(name)
        except Exception as error:  # Anything: a module is a program.
            missing = isinstance(error, ImportError)
            if missing and given.get('allow_failed_imports'):
                continue
            said = f'{type(error).__name__}: {error}'
            raise UserError(
                f'{place}: {name} cannot be imported: {said}. Modules are looked for '
                'in the current folder and in PYTHONPATH'
            ) from error
