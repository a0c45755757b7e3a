"""Is a data set where the config says, of the classes it says? One message if not."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paperzoo.data.paths import ensure_generated, resolve
from paperzoo.errors import UserError


def locate(
    data_root: str | None,
    parts: Sequence[str],
    content: str,
    instead: str,
    *,
    lazy: bool = False,
) -> str:
    """Return the resolved data root, all parts of which are there.

    Args:
        data_root: As in the config; `data/...` follows `$PAPERZOO_DATA`. None, as
            MMEngine has it, is the current folder.
        parts: Files and folders, relative to the root or absolute.
        content: What is expected there, for the message.
        instead: Name of a config that needs no data set, for the message.
        lazy: Whether only names of classes are wanted, and nothing is looked for.

    Raises:
        UserError: If a part is missing; the message lists what was looked for and
            where.

    Example:
        >>> locate('/', [''], 'anything', 'fcos_tiny_shapes')
        '/'
    """
    # mmdet's inferencers build data sets like that, where there may be none.
    if lazy:
        return resolve(data_root or '')
    root = ensure_generated(data_root or '')
    # What lies on another machine is not looked for.
    local = [] if '://' in root else [part for part in parts if '://' not in part]
    needed = [Path(root, part) for part in local]
    if all(path.exists() for path in needed):
        return root
    lines = [
        f'  {"found  " if path.exists() else "MISSING"}  {path.absolute()}'
        for path in needed
    ]
    variable = os.environ.get('PAPERZOO_DATA')
    where = f'PAPERZOO_DATA={variable}' if variable else 'PAPERZOO_DATA is not set'
    raise UserError(
        f"data set not found: data_root='{data_root}' ({where})\n"
        + '\n'.join(lines)
        + f'\nPut the data set there ({content}), or set PAPERZOO_DATA to the folder '
        'that holds it, or point the config elsewhere: --cfg-options '
        'train_dataloader.dataset.data_root=PATH (and likewise val_, test_dataloader '
        'and, if they name files, the evaluators).\nWithout any data set: mim train '
        f'paperzoo {instead}.py runs on images that paperzoo makes itself.'
    )


def check_classes(metainfo: Mapping[str, Any] | None) -> None:
    """Refuse a text where a list of class names belongs: `('cat')` is no tuple.

    The name of a file with a class in each line, as MMEngine takes it, is let pass.

    Args:
        metainfo: As in the config.

    Raises:
        UserError: If the classes are one text.

    Example:
        >>> try:
        ...     check_classes({'classes': ('cat')})
        ... except UserError as error:
        ...     print(str(error).partition(':')[0])
        metainfo.classes = 'cat' is one text, not a list of names
    """
    for key in ('classes', 'thing_classes', 'stuff_classes'):
        given = (metainfo or {}).get(key)
        if isinstance(given, str) and not Path(given).is_file():
            raise UserError(
                f'metainfo.{key} = {given!r} is one text, not a list of names: its '
                f'letters would become classes. Write a comma: ({given!r},)'
            )
