"""Downloads of weights into torch.hub's cache: complete, checked, or not at all.

`torch.hub.download_url_to_file` takes a connection that closed early for the end of the
file and never gives up on a silent server; therefore our own.

A part of `checkpoints`, which says what ails; delete it together with that.
"""

import hashlib
import http.client
import os
import re
import sys
import uuid
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch

from paperzoo.errors import UserError

# A folder or an address that holds all files of weights under their own names.
MIRROR = 'PAPERZOO_MIRROR'
_SILENCE = 60  # Seconds without a byte after which a server counts as gone.
_CHUNK = 1 << 20

# `name-0123abcd.pth`: the start of the SHA-256. Eight digits alone may also be a date.
_HASH = re.compile(r'-(?!20\d{6}\.)([0-9a-f]{8,64})\.[a-z]+$')


def cached_file(
    url: str, folder: str | None = None, file_name: str | None = None
) -> Path:
    """Return the file in the cache that holds `url`, after downloading it if need be.

    In a distributed run the first process of each node downloads and the others wait.

    Raises:
        UserError: If the download fails; the message says how to go on without it.
    """
    from mmengine import dist

    target = cache_place(url, folder, file_name)
    failure: Exception | None = None
    first_of_node = int(os.environ.get('LOCAL_RANK', dist.get_rank())) == 0
    if first_of_node and not target.exists():
        try:
            _download(_mirrored(url), target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure = error  # Raised after the barrier: the others wait there.
    dist.barrier()
    if failure is None and target.exists():
        return target
    reason = failure or 'the first process of this node has the reason'
    raise UserError(
        f"'{url}' could not be downloaded ({reason}). Fetch it elsewhere and place it "
        f"as '{target}', or name a mirror that holds '{target.name}' by {MIRROR}=URL "
        'or =FOLDER; or begin at random weights: paperzoo train CONFIG --from-scratch'
    ) from failure


def cache_place(
    url: str, folder: str | None = None, file_name: str | None = None
) -> Path:
    """Return where the file of an address lies once it is downloaded."""
    target = Path(folder or os.path.join(torch.hub.get_dir(), 'checkpoints'))
    return target / (file_name or Path(urlparse(url).path).name)


def _mirrored(url: str) -> str:
    """Return where to fetch an address: from the mirror, if there is one."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return url
    name = Path(urlparse(url).path).name
    if urlparse(mirror).scheme in ('http', 'https'):
        return f'{mirror.rstrip("/")}/{name}'
    return Path(mirror).expanduser().absolute().joinpath(name).as_uri()


def _download(url: str, target: Path) -> None:
    """Download `url` to a temporary file and move it to `target` once complete."""
    from mmengine.logging import print_log

    target.parent.mkdir(parents=True, exist_ok=True)
    # Nodes with one cache folder may download the same file at the same time.
    partial = target.with_name(f'{target.name}.{uuid.uuid4().hex}.partial')
    print_log(f"Downloading '{url}' to '{target}'", logger='current')
    try:
        digest = _fetch(url, partial)
        expected = _HASH.search(target.name)
        if expected and not digest.startswith(expected[1]):
            raise ValueError(
                f'its SHA-256 begins with {digest[: len(expected[1])]}, '
                f'not with {expected[1]} as its name says'
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _fetch(url: str, path: Path) -> str:
    """Write what `url` answers to `path` and return its SHA-256."""
    digest = hashlib.sha256()
    request = Request(url, headers={'User-Agent': 'paperzoo'})
    with urlopen(request, timeout=_SILENCE) as answer, path.open('wb') as file:
        length = answer.headers.get('Content-Length')
        with torch.hub.tqdm(
            total=length and int(length),
            disable=not sys.stderr.isatty(),
            unit='B',
            unit_scale=True,
        ) as bar:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if length and file.tell() != int(length):
            raise ConnectionError(f'it ended after {file.tell()} of {length} bytes')
    return digest.hexdigest()
