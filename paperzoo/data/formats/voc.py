"""Pascal VOC: an XML file for each image, with a box for each object.

Found anywhere below the folder: `Annotations` and `JPEGImages` with `ImageSets` (VOC,
CVAT), beside the images (LabelImg), in `train`, `valid`, `test` (Roboflow).
"""

from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from paperzoo.data.formats.description import (
    LabelledImage,
    LabelledObject,
    LabelledSet,
    flaw_of,
)
from paperzoo.data.formats.folder import (
    Folder,
    listed_name,
    size_as_stated,
    split_of,
)
from paperzoo.data.formats.xml_files import number_of, parse_xml, text_in
from paperzoo.errors import UserError


def is_voc(folder: Folder) -> bool:
    """Return whether a folder has XML files as VOC's.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.voc import is_voc
        >>> _ = (root / 'a.xml').write_text('<annotation></annotation>')
        >>> is_voc(Folder(root))
        True
    """
    for one in folder.ending('.xml')[:20]:
        try:
            if parse_xml(folder.read_bytes(one)).tag == 'annotation':
                return True
        except (UserError, ValueError):
            continue
    return False


def read_voc(folder: Folder) -> LabelledSet:
    """Read images and boxes; the classes are those that occur, by name.

    VOC's own sets count pixels from 1, which is undone; all others are read as they
    stand. Where a file's own name and its `filename` tell two images, its own counts.

    Args:
        folder: With XML files.

    Raises:
        UserError: If no image can be used.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> from paperzoo.data.formats.folder import Folder
        >>> from paperzoo.data.formats.voc import read_voc
        >>> Image.new('RGB', (20, 10)).save(root / 'a.png')
        >>> _ = (root / 'a.xml').write_text(
        ...     '<annotation><object><name>cat</name><bndbox><xmin>8</xmin>'
        ...     '<ymin>3</ymin><xmax>12</xmax><ymax>7</ymax></bndbox></object>'
        ...     '</annotation>')
        >>> read_voc(Folder(root)).images[0].objects[0].box
        (8.0, 3.0, 12.0, 7.0)
    """
    found = LabelledSet('voc', folder.root)
    splits = _image_sets(folder, found)
    used: set[str] = set()
    renamed = []
    for file in folder.ending('.xml'):
        try:
            root = parse_xml(folder.read_bytes(file))
            if root.tag != 'annotation':
                continue
            stated = text_in(root, 'filename')
            named_as = _named_as(folder, file, stated)
            name = folder.only_image_of('' if named_as else stated, file, used)
            image = _image(folder, file, name, root, found)
        except (UserError, ValueError) as error:
            found.leave_out(file, error)
            continue
        if named_as:
            renamed.append(f'{file} (it says {stated})')
        used.add(name)
        image.split = splits.get(PurePosixPath(file).stem) or split_of(file)
        image.split = image.split or split_of(name)
        found.images.append(image)
    bare = [one for one in folder.images if one not in used and _is_photo(one)]
    found.note_unused(bare, 'XML file')
    if renamed:
        found.notes.append(
            f'{len(renamed)} XML files say another filename than that of the image '
            f'with their own name, which is used: such as {renamed[0]}'
        )
    names = {one.name for image in found.images for one in image.objects}
    found.classes = tuple(sorted(names))
    return found.checked()


def _image(
    folder: Folder, file: str, name: str, root: Element, found: LabelledSet
) -> LabelledImage:
    stated = (
        number_of(text_in(root, 'size/width'), 'size/width', default=0.0),
        number_of(text_in(root, 'size/height'), 'size/height', default=0.0),
    )
    width, height = size_as_stated(
        folder.path(name), stated if all(stated) else None, file
    )
    first = 1 if text_in(root, 'source/database').startswith('The VOC') else 0
    image = LabelledImage(folder.path(name), width, height)
    for number, node in enumerate(root.findall('object'), 1):
        place = f'{folder.path(file)}, object {number}'
        try:
            one = _object(node, first)
        except ValueError as error:
            found.left_out.append(f'{place}: {error}')
            continue
        if flaw := flaw_of(one.box, width, height):
            found.left_out.append(f'{place}: {flaw}')
            continue
        image.objects.append(one)
    return image


def _object(node: Element, first: int) -> LabelledObject:
    name = text_in(node, 'name')
    if not name:
        raise ValueError('it has no name')
    left, top, right, bottom = (
        number_of(text_in(node, path), path)
        for path in ('bndbox/xmin', 'bndbox/ymin', 'bndbox/xmax', 'bndbox/ymax')
    )
    difficult = text_in(node, 'difficult') == '1'
    return LabelledObject(
        name, (left - first, top - first, right, bottom), crowd=difficult
    )


def _named_as(folder: Folder, file: str, stated: str) -> bool:
    """Return whether a file has the name of an image, but states that of another."""
    stem = PurePosixPath(file).stem
    said = PurePosixPath(stated.replace('\\', '/'))
    own = folder.image_of(f'{stem}.xml', file)
    if own is None or PurePosixPath(own).stem != stem or stem in (said.name, said.stem):
        return False
    return folder.image_of(stated, file) not in (None, own)


def _image_sets(folder: Folder, found: LabelledSet) -> dict[str, str]:
    """Return the split of each XML file's name by VOC's lists of names."""
    stems = {PurePosixPath(one).stem for one in folder.ending('.xml')}
    splits = {}
    for one in folder.ending('.txt'):
        parts = PurePosixPath(one).parts
        # trainval.txt, and a list for each class such as cat_train.txt, say no more.
        split = split_of(parts[-1]) if '_' not in parts[-1] else ''
        if 'ImageSets' not in parts or not split:
            continue
        lines = folder.read_text(one).split('\n')
        names = {name for line in lines if (name := _listed(line.strip(), stems))}
        if any(map(str.strip, lines)) and not names:
            found.notes.append(f'{folder.path(one)} names none of the XML files')
        splits.update(dict.fromkeys(names, split))
    return splits


def _listed(line: str, stems: set[str]) -> str:
    """Return which of the names a line of a list means, or `''`."""
    # A name may have blanks; after it may be whether a class is in the image: 0001 -1.
    for text in (line, *line.rsplit(maxsplit=1)[:1]):
        if (name := listed_name(text)) in stems:
            return name
    return ''


def _is_photo(name: str) -> bool:
    return not any(
        part.startswith('Segmentation') for part in PurePosixPath(name).parts
    )
