"""Which format a folder is in; one function reads them all."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from paperzoo.data.formats.class_folders import is_class_folders, read_class_folders
from paperzoo.data.formats.coco import is_coco, read_coco
from paperzoo.data.formats.cvat import is_cvat, read_cvat
from paperzoo.data.formats.description import LabelledSet
from paperzoo.data.formats.folder import Folder
from paperzoo.data.formats.labelme import is_labelme, read_labelme
from paperzoo.data.formats.masks import is_masks, read_masks
from paperzoo.data.formats.voc import is_voc, read_voc
from paperzoo.data.formats.yolo import is_yolo, read_yolo
from paperzoo.errors import UserError, check_choice


class Format(NamedTuple):
    """How a format is recognised and read."""

    fits: Callable[[Folder], bool]
    read: Callable[[Folder], LabelledSet]


# The first that fits: what has a file of its own kind before what has pictures only.
FORMATS = {
    'coco': Format(is_coco, read_coco),
    'yolo': Format(is_yolo, read_yolo),
    'voc': Format(is_voc, read_voc),
    'labelme': Format(is_labelme, read_labelme),
    'cvat': Format(is_cvat, read_cvat),
    'masks': Format(is_masks, read_masks),
    'class_folders': Format(is_class_folders, read_class_folders),
}
# Of these one folder holds only one; pictures in folders are there with every other.
_ANNOTATED = ('coco', 'yolo', 'voc', 'labelme', 'cvat')


def formats_of(folder: Folder) -> list[str]:
    """Return the formats that a folder may be in, the likeliest first.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.recognise import formats_of
        >>> _ = (root / 'data.yaml').write_text('names: [cat, dog]')
        >>> formats_of(Folder(root))
        ['yolo']
    """
    return [name for name, one in FORMATS.items() if one.fits(folder)]


def read_folder(
    root: str | Path | Folder, name: str | None = None, panoptic: bool | None = None
) -> LabelledSet:
    """Read a labelled folder of any known format.

    Args:
        root: The folder, or the files found below it.
        name: Of the format, one of `FORMATS`; None looks.
        panoptic: For COCO: whether to read panoptic files; None takes what there is.

    Raises:
        UserError: If the folder is in no known format or in several, or cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.recognise import read_folder
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'data.yaml').write_text('names: [cat, dog]')
        >>> found = read_folder(root)
        >>> found.format, found.classes, len(found.images)
        ('yolo', ('cat', 'dog'), 1)
    """
    folder = root if isinstance(root, Folder) else Folder(root)
    if name is None:
        name = _only(folder)
    check_choice('read_folder', 'name', name, tuple(FORMATS))
    if name == 'coco':
        found = read_coco(folder, panoptic)
    else:
        found = FORMATS[name].read(folder)
    found.notes += folder.notes
    return found


def _only(folder: Folder) -> str:
    names = formats_of(folder)
    several = [name for name in names if name in _ANNOTATED]
    if len(several) > 1:
        raise UserError(
            f'{folder.root} holds annotations in {" and ".join(several)}: name one, '
            f'--format {several[0]}'
        )
    if not names:
        raise UserError(
            f'{folder.root}: no labelled images found. Known are COCO (JSON), YOLO '
            '(data.yaml and txt), Pascal VOC (XML), LabelMe (JSON), CVAT (XML), images '
            'with label maps (images/, masks/), and a folder for each class'
        )
    return names[0]
