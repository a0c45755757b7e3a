"""Where data lies: one function resolves every relative path that a config names."""

import os
from pathlib import Path

GENERATED = ('shapes', 'glyphs')


def cache_root() -> Path:
    """Return the folder of generated sets: `$PAPERZOO_CACHE` or `~/.cache/paperzoo`."""
    return Path(os.environ.get('PAPERZOO_CACHE') or '~/.cache/paperzoo').expanduser()


def resolve(path: str) -> str:
    """Return where a path of a config really lies.

    - `data/shapes/...` and `data/glyphs/...` are generated sets: made in the cache on
      first use.
    - `data/...` lies below `$PAPERZOO_DATA` if that is set, else below `data/` of the
      working directory.
    - Everything else (absolute paths, URLs, other relative paths) stays as it is.

    Args:
        path: A data root, annotation file or folder as written in a config.
    """
    parts = Path(path).parts
    if len(parts) < 2 or parts[0] != 'data':
        return path
    if parts[1] in GENERATED:
        root = _generate(parts[1], cache_root() / parts[1])
        return str(root.joinpath(*parts[2:]))
    if root_of_user := os.environ.get('PAPERZOO_DATA'):
        return str(Path(root_of_user).expanduser().joinpath(*parts[1:]))
    return path


def _generate(name: str, root: Path) -> Path:
    # Imported when asked for: drawing needs OpenCV.
    if name == 'glyphs':
        from paperzoo.data.glyphs import generate_glyphs

        return generate_glyphs(root)
    from paperzoo.data.shapes import generate_shapes

    return generate_shapes(root)
