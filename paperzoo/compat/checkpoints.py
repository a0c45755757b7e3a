"""Checkpoints that load on torch >= 2.6, from everywhere, and never run code.

Ailment: mmengine's own checkpoints hold HistoryBuffers, which torch's check of pickles
(`weights_only`, the default since 2.6) refuses: resume, test and publish fail. And
where mmengine loads with the check off (`http://` and all that rests on it; every
scheme in the onedl forks) a hostile file runs its code.
Upstream thread: https://github.com/open-mmlab/mmengine/issues/1655 and 1650.
Delete when: the supported mmengine loads its own checkpoints with `weights_only=True`
from every scheme.

All schemes end in `_read`, which always checks, with the names in
`checkpoint_allowlist` allowed. It passes `weights_only=True` explicitly, so that
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, which changes the default, changes nothing. The names
are allowed globally too, so that tools which call `torch.load` themselves
(publish_model) read mmengine's checkpoints.
"""

import io
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from paperzoo.compat.download import cached_file
from paperzoo.errors import UserError
from paperzoo.utils.pickle_sizes import is_boundless

# What torch's checking unpickler says when it refuses, as opposed to when it stumbles.
_NAMED = re.compile(r'GLOBAL (.+?) (?:was not an allowed|whose module|is refused)')
_UNNAMED = re.compile(
    r'unrecognized function|Can only (?:create|build)|must be imported to load'
)
# How zips and pickles of the other protocols begin.
_FOREIGN = (b'PK', b'\x80\x03', b'\x80\x04', b'\x80\x05')
_ZIP = b'PK\x03\x04'  # as torch knows a zip
# Before 1.6: magic number, protocol, system, content and the names of the storages.
_LEGACY_PICKLES = 5
# A zip of more than this, in bytes, that grows by more than this, is no checkpoint.
_LARGE = 2**30
_MOST_INFLATED = 50
# Not the file's fault: the caller's device or memory.
_DEVICE = re.compile(r'deserialize object on|out of memory|CUDA error|allocate memory')


class MissingCheckpointError(UserError, FileNotFoundError):
    """There is no such checkpoint (mmengine raises `FileNotFoundError` here)."""


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint from a file."""
    path = Path(os.path.expanduser(filename))
    if path.is_dir():
        raise MissingCheckpointError(
            f"the checkpoint '{filename}' is a folder. Name a file in it"
            + _suggestion(_neighbours(path / '_')[:1])
        )
    if path.exists() and not path.is_file():
        raise MissingCheckpointError(
            f"the checkpoint '{filename}' is no file but a pipe or a device, which may "
            'never end. Copy its content into a file'
        )
    if not path.is_file():
        near = [other.name for other in _neighbours(path)]
        best = get_close_matches(path.name, near, n=1, cutoff=0.0)
        where = f"'{path.parent}'" + (
            '' if path.parent.is_dir() else ', nor the folder'
        )
        raise MissingCheckpointError(
            f"there is no checkpoint '{path.name}' in {where}"
            + _suggestion([path.parent / name for name in best], 'The nearest there')
        )

    def remedy() -> str:
        lead = 'Or resume from an earlier checkpoint in the same folder'
        return 'Copy or download it again' + _suggestion(_neighbours(path)[:1], lead)

    return _read(path, filename, map_location, remedy)


def load_from_http(
    filename: str, map_location: Any = None, model_dir: str | None = None
) -> Any:
    """Load a checkpoint from a web address, by way of torch.hub's cache folder."""
    path = cached_file(filename, model_dir)
    return _read(path, str(path), map_location, _download_again)


def _download_again() -> str:
    return 'Delete it, and the next run downloads it again'


def _upload_again() -> str:
    return 'Upload it again'


def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Load `torchvision://NAME` (or the old `modelzoo://NAME`)."""
    name = filename.partition('://')[2]
    return load_from_http(torchvision_url(name), map_location)


def torchvision_url(name: str) -> str:
    """Return the address of the weights `name`, in any of torchvision's spellings.

    Raises:
        UserError: If no weights have this name.
    """
    from mmengine.runner import checkpoint as mm

    urls = mm.get_torchvision_models()
    if name not in urls:
        name = name.replace('_Weights', '').lower()
    return look_up(name, urls, 'torchvision://')


def look_up(name: str, urls: Mapping[str, str], scheme: str) -> str:
    """Return `urls[name]`.

    Raises:
        UserError: If `urls` has no such name; the message gives the nearest ones.
    """
    if name in urls:
        return urls[name]
    near = get_close_matches(name, urls, n=3, cutoff=0.0)
    raise UserError(
        f"'{scheme}{name}' is not among the {len(urls)} known sets of weights. "
        'The nearest: ' + ', '.join(f"'{scheme}{known}'" for known in near)
    )


def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Load `open-mmlab://NAME` or `openmmlab://NAME`."""
    from mmengine.runner import checkpoint as mm

    scheme, mark, name = filename.partition('://')
    name = mm.get_deprecated_model_names().get(name, name)
    url = look_up(name, mm.get_external_models(), scheme + mark)
    if url.startswith(('http://', 'https://')):
        return load_from_http(url, map_location)
    return load_from_local(os.path.join(mm._get_mmengine_home(), url), map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    """Load the backbone of `mmcls://NAME`."""
    from mmengine.runner import checkpoint as mm

    scheme, mark, name = filename.partition('://')
    url = look_up(name, mm.get_mmcls_models(), scheme + mark)
    return mm._process_mmcls_checkpoint(load_from_http(url, map_location))


def load_from_ceph(
    filename: str, map_location: Any = None, backend: str = 'petrel'
) -> Any:
    """Load a checkpoint from an `s3://` or `petrel://` store."""
    from mmengine.fileio import get_file_backend

    store = get_file_backend(filename, backend_args={'backend': backend})
    with io.BytesIO(store.get(filename)) as buffer:
        return _read(buffer, filename, map_location, _upload_again)


def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint from a `pavi://` model cloud."""
    from pavi import modelcloud

    model = modelcloud.get(filename.removeprefix('pavi://'))
    with TemporaryDirectory() as folder:
        path = Path(folder, model.name)
        model.download(str(path))
        return _read(path, filename, map_location, _upload_again)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Stand in for mmengine's `load_url`, which loads without any check."""
    path = cached_file(url, model_dir, file_name)
    return _read(path, str(path), map_location, _download_again)


_LOADERS: dict[Callable, tuple[str, ...]] = {
    load_from_local: ('',),
    load_from_http: ('http://', 'https://'),
    load_from_torchvision: ('modelzoo://', 'torchvision://'),
    load_from_openmmlab: ('open-mmlab://', 'openmmlab://'),
    load_from_mmcls: ('mmcls://',),
    load_from_ceph: (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
    load_from_pavi: ('pavi://',),
}


def apply() -> None:
    """Register the loaders for every scheme; allow mmengine's names in `torch.load`."""
    if find_spec('mmengine') is None:
        return
    from mmengine.runner import checkpoint as mm

    _allow()
    for loader, prefixes in _LOADERS.items():
        mm.CheckpointLoader.register_scheme(prefixes, loader, force=True)
        # Code that calls mmengine's function by name gets the check, too.
        setattr(mm, loader.__name__, loader)
    mm.load_url = load_url
    for name in ('mmengine.utils.dl_utils', 'mmengine.utils.dl_utils.hub'):
        sys.modules[name].load_url = load_url  # type: ignore[attr-defined]


def _allow() -> None:
    from paperzoo.compat.checkpoint_allowlist import allowed_globals

    torch.serialization.add_safe_globals(allowed_globals())


def _read(
    source: Path | io.BytesIO, name: str, map_location: Any, remedy: Callable[[], str]
) -> Any:
    """Read a checkpoint with the check on; turn what can go wrong into one message.

    What remedies it is asked for when something did go wrong, not before.
    """
    _allow()  # Again: the list is global, and anyone may have cleared it.
    try:
        with warnings.catch_warnings():
            # The error below says it in a way that a user understands.
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            unzipped = _unzipped(source, name)
            refuse_boundless(unzipped, name)
            return torch.load(unzipped, map_location=map_location, weights_only=True)
    except OSError as error:
        raise UserError(f"the checkpoint '{name}' cannot be opened: {error}") from error
    except (MemoryError, UserError):
        raise
    except Exception as error:  # A damaged pickle can raise nearly anything.
        if isinstance(error, RuntimeError) and _DEVICE.search(str(error)):
            raise
        asked = _refused(str(error), source)
        if asked:
            # From None: torch's message advises to switch the check off.
            raise UserError(_refusal(name, asked)) from None
        raise UserError(
            f"the checkpoint '{name}' cannot be read; it has {_size(source)} bytes and "
            'is damaged, incomplete or no PyTorch checkpoint at all '
            f'({_first_line(error)}). {remedy()}'
        ) from error


def _unzipped(source: Path | io.BytesIO, name: str) -> Path | io.BytesIO:
    """Return what is in `source` if that is a zip of one file (old torch.hub)."""
    if not zipfile.is_zipfile(source):
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return source
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        whole = sum(member.file_size for member in members)
        # torch.save does not compress; weights hardly get smaller.
        if whole > _LARGE and whole > _MOST_INFLATED * _size(source):
            raise UserError(
                f"the checkpoint '{name}' is refused: its {_size(source)} bytes would "
                f'become {whole / 1e9:.1f} GB. No weights can be packed like that'
            )
        if len(members) == 1 and not members[0].is_dir():
            return io.BytesIO(archive.read(members[0]))
    if isinstance(source, io.BytesIO):
        source.seek(0)
    return source


def refuse_boundless(source: Path | io.BytesIO, name: str) -> None:
    """Refuse what torch's reader would hash without end, before it reads.

    Args:
        source: The checkpoint: a zip, or what torch wrote before 1.6.
        name: What it is called, for the message.

    Raises:
        UserError: If containers in `source` hold one another over and over.

    Example:
        >>> from paperzoo.compat.checkpoints import refuse_boundless
        >>> weights = io.BytesIO()
        >>> torch.save({'weight': torch.ones(3)}, weights)
        >>> refuse_boundless(weights, 'w.pth')
    """
    with (
        io.BytesIO(source.getvalue())
        if isinstance(source, io.BytesIO)
        else source.open('rb') as file
    ):
        if file.read(4) == _ZIP:
            file.seek(0)
            try:
                # As torch reads it: another reader may find another file in the zip.
                record = torch._C.PyTorchFileReader(file).get_record('data.pkl')
            except RuntimeError:  # torch.load will say it
                return
            boundless = is_boundless(io.BytesIO(record))
        else:
            file.seek(0)
            boundless = is_boundless(file, _LEGACY_PICKLES)
    if boundless:
        raise UserError(
            f"the checkpoint '{name}' is refused: containers in it hold one another so "
            'often that reading them would not end. Nothing in it was read. No weights '
            'need that: do not use this file'
        )


def _refused(message: str, source: Path | io.BytesIO) -> str | None:
    """Return what torch's check refused, or None if the file is merely damaged."""
    if named := _NAMED.search(message):
        return f'it asks for `{named[1]}`, which no model weights need'
    if _UNNAMED.search(message):
        return 'it asks for a call that no model weights need'
    # torch.save writes protocol 2 only. (In a zip, a checksum has ruled out damage.)
    if 'Unsupported operand' in message and _head(source) in _FOREIGN:
        return 'it is a pickle that torch.save did not write'
    return None


def _refusal(name: str, asked: str) -> str:
    return (
        f"the checkpoint '{name}' is refused: {asked}. Nothing in it was run. "
        'If you trust its author, ask for a file of the state dict alone, or make one '
        'where running foreign code does no harm: '
        f"torch.save(torch.load('{name}', weights_only=False)['state_dict'], "
        "'weights.pth'). A class of your own is allowed by "
        'torch.serialization.add_safe_globals([TheClass])'
    )


def _head(source: Path | io.BytesIO) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:2]
    with source.open('rb') as file:
        return file.read(2)


def _size(source: Path | io.BytesIO) -> int:
    if isinstance(source, io.BytesIO):
        return source.getbuffer().nbytes
    return source.stat().st_size


def _first_line(error: Exception) -> str:
    # Before its reason torch advises to switch the check off.
    _, _, reason = str(error).rpartition('WeightsUnpickler error:')
    said = (reason.strip() or 'no more is known').splitlines()[0]
    return f'{type(error).__name__}: {said}'.rstrip('. ')


def _neighbours(path: Path) -> list[Path]:
    """Return the other checkpoints in the folder of `path`, the newest first."""
    found = []
    # A hint must not fail: links may dangle, files vanish, folders be closed to us.
    with suppress(OSError):
        for other in path.parent.glob('*.pth'):
            with suppress(OSError):
                if other != path and other.is_file():
                    found.append((other.stat().st_mtime, other))
    return [other for _, other in sorted(found, reverse=True)]


def _suggestion(paths: list[Path], lead: str = 'The newest') -> str:
    return ''.join(f". {lead}: '{path}'" for path in paths)
