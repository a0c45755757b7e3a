"""Where data lies: one function resolves every relative path that a config names."""

import os
from pathlib import Path

from paperzoo.errors import UserError

GENERATED = ('shapes', 'glyphs', 'glyphs_cluttered')


def cache_root() -> Path:
    """Return the folder of generated sets: `$PAPERZOO_CACHE` or `~/.cache/paperzoo`.

    Raises:
        UserError: If neither is there, as the user has no home.

    Example:
        >>> import os
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, PAPERZOO_CACHE='/scratch/sets'):
        ...     cache_root().as_posix()
        '/scratch/sets'
    """
    given = os.environ.get('PAPERZOO_CACHE') or '~/.cache/paperzoo'
    folder = os.path.expanduser(given)
    if folder.startswith('~'):  # as under `docker --user`
        raise UserError(
            f"generated data sets would go to '{given}', but this user has no home: "
            'export PAPERZOO_CACHE=FOLDER'
        )
    return Path(folder)


def resolve(path: str) -> str:
    """Return where a path of a config really lies; it need not be there.

    - `data/shapes/...`, `data/glyphs/...` and `data/glyphs_cluttered/...` are generated
      sets, in the cache.
    - `data/...` lies below `$PAPERZOO_DATA` if that is set, else below `data/` of the
      working directory.
    - Everything else (absolute paths, URLs, other relative paths) stays as it is.

    Args:
        path: A data root, annotation file or folder as written in a config.

    Example:
        >>> import os
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, PAPERZOO_DATA='/sets'):
        ...     resolve('data/coco'), resolve('/other/coco')
        ('/sets/coco', '/other/coco')
    """
    parts = Path(path).parts
    if len(parts) < 2 or parts[0] != 'data':
        return path
    if parts[1] in GENERATED:
        return str(cache_root().joinpath(*parts[1:]))
    if root_of_user := os.environ.get('PAPERZOO_DATA'):
        return str(Path(os.path.expanduser(root_of_user)).joinpath(*parts[1:]))
    return path


def ensure_generated(path: str) -> str:
    """Make the generated set that a path lies in, unless it is there, and resolve it.

    To be called where files are about to be read: drawing takes some seconds.

    Args:
        path: As for `resolve`; one that lies in no generated set is only resolved.

    Raises:
        UserError: If the set cannot be written, or something else is in its place.

    Example:
        >>> ensure_generated('/other/coco')
        '/other/coco'
    """
    parts = Path(path).parts
    # Imported when asked for: drawing needs OpenCV.
    if parts[:2] == ('data', 'shapes'):
        from paperzoo.data.shapes import generate_shapes

        generate_shapes(cache_root() / 'shapes')
    elif parts[:2] == ('data', 'glyphs'):
        from paperzoo.data.glyphs import generate_glyphs

        generate_glyphs(cache_root() / 'glyphs')
    elif parts[:2] == ('data', 'glyphs_cluttered'):
        from paperzoo.data.glyphs import CLUTTERED, generate_glyphs

        generate_glyphs(cache_root() / 'glyphs_cluttered', CLUTTERED)
    return resolve(path)
