"""The files below a folder: found by name, and read as data only."""

import json
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Sequence
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from paperzoo.errors import UserError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_ORIENTATION = 0x0112  # EXIF; from 5 on width and height change places
_SPLITS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
# More is no list of labels, and would fill the memory.
_LARGEST = 4 * 2**30


class Folder:
    """The files below a folder; hidden ones and those of macOS are passed over.

    Args:
        root: The folder.

    Raises:
        UserError: If the folder is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f"there is no folder '{self.root}'")
        self.files, self.notes = _walk(self.root)

    def ending(self, *suffixes: str) -> list[str]:
        """Return the files with a suffix, in any case, relative to the root."""
        return [one for one in self.files if suffix(one) in suffixes]

    @cached_property
    def images(self) -> list[str]:
        """The image files."""
        return self.ending(*IMAGE_SUFFIXES)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.images:
            name = _plain(one)
            for key in (name, PurePosixPath(name).stem):
                found.setdefault(key, []).append(one)
        return found

    @cached_property
    def _image_folders(self) -> set[str]:
        return {PurePosixPath(one).parent.name for one in self.images} - {''}

    def image_of(self, name: str, near: str) -> str | None:
        """Return the image that an annotation names, or None.

        Only files of this folder are returned, whatever the name says. A folder of the
        name counts if there is one here that has images.

        Args:
            name: As in the annotation; its folder may be that of another machine.
            near: The annotation file, relative to the root.
        """
        name = name.replace('\\', '/')
        base = PurePosixPath(near).parent
        exact = os.path.normpath(base / name).replace(os.sep, '/')
        plain = _plain(name)
        candidates = self._by_name.get(plain) or self._by_name.get(
            PurePosixPath(plain).stem, []
        )
        if exact in candidates:
            return exact
        folder = PurePosixPath(name).parent.name or base.name
        if folder in self._image_folders:
            # It is here: an image of that name in another one is another image.
            candidates = [one for one in candidates if folder in one.split('/')[:-1]]
        wanted = {*base.parts, *PurePosixPath(name).parts[:-1]}
        wanted |= {split_of(near)} - {''}

        def fit(one: str) -> int:
            return len(wanted & {*PurePosixPath(one).parts[:-1], split_of(one)})

        if not candidates:
            return None
        best = max(map(fit, candidates))
        fitting = [one for one in candidates if fit(one) == best]
        # A folder that is not here tells none of them from the others.
        return None if '/' in name and not best and fitting[1:] else fitting[0]

    def only_image_of(self, name: str, file: str, used: Collection[str]) -> str:
        """Return the image of a file that is about one image.

        Args:
            name: As the file says; `''` if it does not. Else the file's own name tells.
            file: Relative to the root.
            used: Images that have a file already.

        Raises:
            UserError: If the image is not in the folder, or has a file already.
        """
        found = self.image_of(name or file, file)
        found = found or self.image_of(PurePosixPath(file).stem, file)
        if found is None:
            raise UserError(f'{file}: its image is not in the folder')
        if found in used:
            kind = suffix(file)[1:].upper()
            raise UserError(f'{file}: {found} has another {kind} file already')
        return found

    def path(self, name: str) -> Path:
        """Return the path of one of the files."""
        return self.root / name

    def read_bytes(self, name: str) -> bytes:
        """Return the content of one of the files.

        Raises:
            UserError: If the file is no regular one, too large, or cannot be read.
        """
        return read_bytes(self.path(name))

    def read_text(self, name: str) -> str:
        """Return the text of one of the files.

        Raises:
            UserError: If the file cannot be read, or is no text.
        """
        return decode(self.read_bytes(name), self.path(name))

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file.

        Raises:
            UserError: If the file cannot be read, or is no JSON.
        """
        return parse_json(self.read_text(name), self.path(name))

    def keyed_json(self, name: str, *keys: str) -> dict[str, Any]:
        """Return the object in a JSON file if it has some keys, else an empty one.

        A file that cannot be read has none; one that does not hold the words is not
        parsed, which would take most of the time.
        """
        try:
            text = self.read_text(name)
            if not all(f'"{key}"' in text for key in keys):
                return {}
            found = parse_json(text, self.path(name))
        except UserError:
            return {}
        fits = isinstance(found, dict) and all(key in found for key in keys)
        return found if fits else {}


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file; a link must lead to a regular file.

    Raises:
        UserError: If the file is no regular one (a pipe would block), too large, or
            cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import read_bytes
        >>> _ = (root / 'a.txt').write_text('cat')
        >>> read_bytes(root / 'a.txt')
        b'cat'
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f'{path} is no regular file')
        if found.st_size > _LARGEST:
            raise UserError(f'{path} has {found.st_size / 1e9:.1f} GB: no label file')
        return path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}') from error


def decode(content: bytes, path: Path) -> str:
    """Return text in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        content: What the file holds.
        path: The file, for the message.

    Raises:
        UserError: If `content` is in neither encoding.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.data.formats.folder import decode
        >>> decode('红'.encode('utf-8-sig'), Path('classes.txt'))
        '红'
    """
    wide = content.startswith((b'\xff\xfe', b'\xfe\xff'))
    try:
        return content.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is no text in UTF-8 (byte {error.start}). Save it as UTF-8'
        ) from error


def parse_json(text: str, path: Path) -> Any:
    """Return what JSON holds.

    Args:
        text: What the file holds.
        path: The file, for the message.

    Raises:
        UserError: If `text` is no JSON.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.data.formats.folder import parse_json
        >>> parse_json('{"images": []}', Path('a.json'))
        {'images': []}
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} is no JSON ({error}). Copy or export it again'
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height as the loader will see them: with EXIF's orientation.

    Args:
        path: The image.

    Raises:
        UserError: If the file is no regular one, or no image that can be read.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import image_size
        >>> Image.new('L', (20, 10)).save(root / 'a.png')
        >>> image_size(root / 'a.png')
        (20, 10)
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f'{path} is no regular file')
        with Image.open(path) as image:
            width, height = image.size
            turned = orientation_of(image, path) > 4 and _turns(image.format)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'{path} is no readable image ({error})') from error
    return (height, width) if turned else (width, height)


def orientation_of(image: Image.Image, path: Path) -> int:
    """Return the EXIF orientation of an image; 1 is upright.

    Args:
        image: Opened, not loaded.
        path: Its file.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), 'a.png')
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import orientation_of
        >>> Image.new('L', (20, 10)).save(path)
        >>> with Image.open(path) as image:
        ...     orientation_of(image, path)
        1
    """
    # A PNG may hold it behind its pixels; most hold none, and are not decoded.
    if image.format == 'PNG' and b'eXIf' not in path.read_bytes():
        return 1
    return int(image.getexif().get(_ORIENTATION, 1))


@cache
def _turns(kind: str | None) -> bool:
    """Return whether OpenCV turns a format that Pillow leaves as it is stored.

    Which it turns has changed with its versions: it is asked. Telephones write JPEG
    files of several pictures, MPO.
    """
    if kind in ('JPEG', 'MPO'):
        return True
    if kind not in ('PNG', 'WEBP'):
        return False
    import cv2

    orientation = Image.Exif()
    orientation[_ORIENTATION] = 6
    content = BytesIO()
    Image.new('RGB', (2, 1)).save(content, kind, exif=orientation)
    stored = np.frombuffer(content.getvalue(), np.uint8)
    loaded = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    return loaded is not None and loaded.shape[:2] == (2, 1)


def size_as_stated(
    path: Path, stated: tuple[Any, Any] | None, file: str
) -> tuple[int, int]:
    """Return width and height as `image_size` does, if an annotation says the same.

    Args:
        path: The image.
        stated: What the annotation says; None for nothing.
        file: The annotation file, for the message.

    Raises:
        UserError: If the image has another size, or cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import size_as_stated
        >>> Image.new('L', (20, 10)).save(root / 'a.png')
        >>> size_as_stated(root / 'a.png', (20, 10), 'a.json')
        (20, 10)
    """
    found = image_size(path)
    if stated is not None and stated != found:
        said = ' x '.join(str(side).removesuffix('.0') for side in stated)
        turned = ' (turned by its EXIF orientation?)' if stated == found[::-1] else ''
        raise UserError(
            f'{file}: the file says {said} pixels, but {path.name} has {found[0]} x '
            f'{found[1]}{turned}'
        )
    return found


def suffix(name: str) -> str:
    """Return the suffix in lower case.

    Args:
        name: A file.

    Example:
        >>> from paperzoo.data.formats.folder import suffix
        >>> suffix('a/B.JPG')
        '.jpg'
    """
    return PurePosixPath(name).suffix.lower()


def listed_name(text: str) -> str:
    """Return the name of an image in a list: without folders and an image's suffix.

    Args:
        text: A line of the list.

    Example:
        >>> from paperzoo.data.formats.folder import listed_name
        >>> listed_name('images/a.JPG'), listed_name('1.2')
        ('a', '1.2')
    """
    name = PurePosixPath(text.strip()).name
    return name[: -len(suffix(name))] if suffix(name) in IMAGE_SUFFIXES else name


def split_of(name: str) -> str:
    """Return the split that a path tells: `'train'`, `'val'`, `'test'`, or `''`.

    Args:
        name: A path relative to the root; the last part that tells counts.

    Example:
        >>> from paperzoo.data.formats.folder import split_of
        >>> split_of('annotations/instances_val2017.json'), split_of('valid/a.jpg')
        ('val', 'val')
        >>> split_of('images/a_train_station.jpg')
        ''
    """
    parts = PurePosixPath(name).parts
    words = [part.lower() for part in parts[:-1]]
    # A file's own name tells only where files are lists, not pictures.
    if suffix(name) in ('.json', '.csv', '.txt'):
        words += re.split(r'[_\-.\s]', parts[-1].lower())
    return next((split for word in reversed(words) if (split := split_named(word))), '')


def split_named(word: str) -> str:
    """Return the split that a word means, or `''`.

    Args:
        word: Such as a folder's name.

    Example:
        >>> from paperzoo.data.formats.folder import split_named
        >>> split_named('Validation'), split_named('train2017'), split_named('cats')
        ('val', 'train', '')
    """
    return _SPLIT_OF.get(word.lower().rstrip('0123456789_'), '')


def without_image(names: Sequence[str], what: str) -> list[str]:
    """Return one line for each label file whose image is missing.

    Args:
        names: The label files.
        what: The format's word for them.

    Example:
        >>> from paperzoo.data.formats.folder import without_image
        >>> without_image(['a.txt'], 'label file')
        ['a.txt: no image belongs to this label file']
    """
    return [f'{name}: no image belongs to this {what}' for name in names]


def _plain(name: str) -> str:
    # macOS writes an accent as a letter of its own.
    return unicodedata.normalize('NFC', PurePosixPath(name).name.lower())


def _walk(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all files, sorted, and a note on each link to what is read already."""
    found, notes = [], []
    seen: dict[str, str] = {}
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if first := seen.get(real):
            notes.append(f'{place} leads to {first}, whose files count once')
            folders.clear()
            continue
        seen[real] = place
        shown = [f for f in folders if not f.startswith(('.', '__MACOSX'))]
        # Links come last: the folder itself has the name that tells its split.
        folders[:] = sorted(shown, key=lambda f: (os.path.islink(Path(place, f)), f))
        base = Path(place).relative_to(root)
        found += [(base / f).as_posix() for f in files if not f.startswith('.')]
    return tuple(sorted(found)), tuple(notes)
