"""What is wrong in a folder is said with its place; nothing leads out, nothing runs."""

import json
import os
from pathlib import Path

import labelled_folders as made
import numpy as np
import pytest
from labelled_folders import CLASSES
from PIL import Image

from paperzoo.data.formats.folder import Folder, image_size
from paperzoo.data.formats.recognise import read_folder
from paperzoo.data.formats.xml_files import parse_xml
from paperzoo.errors import UserError

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = b"""<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>"""


def turned(path: Path, width: int, height: int) -> None:
    """Save a picture whose EXIF orientation turns it by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (width, height), (90, 60, 30)).save(path, exif=exif)


@pytest.mark.parametrize('content', [BOMB, OUTSIDE])
def test_xml_declares_nothing(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='document type'):
        parse_xml(content)
    some = made.scenes(2)
    made.write_voc(tmp_path, some)
    (tmp_path / 'Annotations' / 'scene 0.xml').write_bytes(content)
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 1.jpg']
    assert 'Annotations/scene 0.xml' in found.left_out[0]
    assert 'document type' in found.left_out[0]


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    made.write_yolo(tmp_path, made.scenes(2))
    proof = tmp_path / 'proof'
    text = f'names: !!python/object/apply:os.mkdir ["{proof}"]\ntrain: images\n'
    (tmp_path / 'data.yaml').write_text(text)
    with pytest.raises(UserError, match=r'data\.yaml is no YAML'):
        read_folder(tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize('name', ['../secret.jpg', '/secret.jpg', '..\\secret.jpg'])
def test_names_never_leave_the_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / 'data'
    some = made.scenes(2)
    made.write_coco(root, some)
    made.save(some[0], tmp_path / 'secret.jpg')
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    content['images'][0]['file_name'] = name
    file.write_text(json.dumps(content))
    found = read_folder(root)
    assert [one.path.name for one in found.images] == ['scene 1.jpg']
    assert 'it is not in the folder' in found.left_out[0]


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_yolo(tmp_path, some)
    (tmp_path / 'labels/train/scene 0.txt').unlink()
    os.mkfifo(tmp_path / 'labels/train/scene 0.txt')
    (tmp_path / 'images/train/scene 1.jpg').unlink()
    (tmp_path / 'images/train/scene 1.jpg').symlink_to('/dev/zero')
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 2.jpg']
    assert len(found.left_out) == 2
    assert all('is no regular file' in one for one in found.left_out)


def test_yolo_lines(tmp_path: Path) -> None:
    some = made.scenes(1)
    made.write_yolo(tmp_path, some)
    file = tmp_path / 'labels/train/scene 0.txt'
    lines = [
        '3 0.5 0.5 0.2 0.2',
        '0 0.5 0.5 0.0 0.2',
        '0 0.5 0.5 0.2',
        '0 50 50 20 20',
        '0 x 0.5 0.2 0.2',
        '-1 0.5 0.5 0.2 0.2',
        '0.5 0.5 0.5 0.2 0.2',
        '0 nan 0.5 0.2 0.2',
        '',
        '1 0.5 0.5 0.2 0.2',
    ]
    file.write_text('\n'.join(lines))
    found = read_folder(tmp_path)
    assert [one.name for one in found.images[0].objects] == [CLASSES[1]]
    assert [one.partition(', line ')[2] for one in found.left_out] == [
        '1: class 3, but the classes are 0 to 2',
        '2: the box has no area (0 x '
        f'{0.2 * some[0].size[1]:g} pixels)',
        '3: 4 numbers: a box has 5 (class, centre, width, height), a polygon 7 and '
        'more',
        '4: a coordinate is not between 0 and 1 (a fraction of the image)',
        '5: a word is no number',
        '6: class -1, but the classes are 0 to 2',
        '7: class 0.5, but the classes are 0 to 2',
        '8: a coordinate is not between 0 and 1 (a fraction of the image)',
    ]  # fmt: skip
    assert str(file) in found.left_out[0]


def test_images_without_labels_and_labels_without_images(tmp_path: Path) -> None:
    some = made.scenes(4)
    made.write_yolo(tmp_path, some)
    labels = tmp_path / 'labels/train'
    (labels / 'scene 0.txt').unlink()
    (labels / 'scene 1.txt').write_text('')
    (labels / 'lost.txt').write_text('0 0.5 0.5 0.1 0.1\n')
    found = read_folder(tmp_path)
    assert [len(one.objects) > 0 for one in found.images] == [False, False, True, True]
    assert found.notes == [
        '1 images have no label file: YOLO takes them as images without an object'
    ]
    assert found.left_out == [
        'labels/train/lost.txt: no image belongs to this label file'
    ]


@pytest.mark.parametrize('name', ['voc', 'labelme'])
def test_unlabelled_images_of_one_file_each(name: str, tmp_path: Path) -> None:
    some = made.scenes(3)
    made.BOXES[name](tmp_path, some)
    suffix = {'voc': 'xml', 'labelme': 'json'}[name]
    files = sorted(tmp_path.rglob(f'*.{suffix}'))
    files[0].unlink()
    next(tmp_path.rglob('scene 1.jpg')).unlink()
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 2.jpg']
    assert found.notes[0].startswith('1 images have no')
    assert 'its image is not in the folder' in found.left_out[0]


def test_upper_case_suffixes(tmp_path: Path) -> None:
    some = made.scenes(2)
    for name, write in made.BOXES.items():
        root = tmp_path / name
        write(root, some)
        for path in sorted(root.rglob('*.jpg')):
            path.rename(path.with_suffix('.JPG'))
        found = read_folder(root)
        assert [one.path.suffix for one in found.images] == ['.JPG', '.JPG'], name
        assert all(one.objects for one in found.images), name


def test_the_size_is_that_of_the_turned_picture(tmp_path: Path) -> None:
    """A loader turns it, and YOLO's fractions are of what one sees."""
    import cv2

    path = tmp_path / 'images/a.jpg'
    path.parent.mkdir()
    turned(path, 40, 20)
    assert image_size(path) == (20, 40) == cv2.imread(str(path)).shape[1::-1]
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.txt').write_text('0 0.5 0.5 0.5 0.5')
    (tmp_path / 'classes.txt').write_text('cat\n')
    (image,) = read_folder(tmp_path).images
    assert image.objects[0].box == (5, 10, 15, 30)


@pytest.mark.parametrize('name', ['coco', 'voc', 'labelme'])
def test_a_stated_size_that_is_not_the_pictures(name: str, tmp_path: Path) -> None:
    some = made.scenes(2)
    made.BOXES[name](tmp_path, some)
    width, height = some[0].size
    # What the file says are the sides before the camera's turn.
    turned(next(tmp_path.rglob('scene 0.jpg')), width, height)
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 1.jpg']
    assert f'{width} x {height} pixels' in found.left_out[0]
    assert 'EXIF' in found.left_out[0]


def test_broken_files_are_left_out(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_labelme(tmp_path, some)
    (tmp_path / 'scene 0.json').write_text('{"shapes": [')
    (tmp_path / 'scene 1.jpg').write_bytes(b'no image')
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 2.jpg']
    assert 'scene 0.json is no JSON' in found.left_out[0]
    assert 'scene 1.jpg is no readable image' in found.left_out[1]


@pytest.mark.parametrize(
    'text', ['[' * 100000, '{"images": 3, "annotations": []}', '{"images": [3]}', 'x']
)
def test_a_broken_coco_file_is_one_message(text: str, tmp_path: Path) -> None:
    made.write_coco(tmp_path, made.scenes(2))
    made.write_json(tmp_path / 'annotations/instances_val.json', {})
    (tmp_path / 'annotations/instances_train.json').write_text(text)
    with pytest.raises(UserError, match=str(tmp_path)):
        read_folder(tmp_path)


def test_a_coco_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_coco(tmp_path, some)
    file = tmp_path / 'annotations/instances_train.json'
    text = file.read_text()
    for encoding in ('utf-8-sig', 'utf-16'):
        file.write_bytes(text.encode(encoding))
        assert read_folder(tmp_path).classes == CLASSES


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('train: images\nnames: 3', 'names must be a list'),
        ('train: images\nnames: {0: a, 5: b}', 'must be 0, 1, 2'),
        ('train: images\nnames: [a, b]\nnc: 3', 'nc is 3, but names has 2'),
        ('train: images\nnames: [a, a]', "'a' is named twice"),
        ('train: images\nnames: [a]\nkpt_shape: [17, 3]', 'key points'),
        ('train: images\nnames: [a]\nnc: &n [*n]', 'aliases hold themselves'),
    ],
)
def test_a_wrong_data_yaml(text: str, why: str, tmp_path: Path) -> None:
    made.write_yolo(tmp_path, made.scenes(1))
    for file in (tmp_path / 'labels').rglob('*.txt'):
        file.write_text('')
    (tmp_path / 'data.yaml').write_text(text)
    with pytest.raises(UserError, match=why):
        read_folder(tmp_path)


def test_hidden_files_and_circles_of_links(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_yolo(tmp_path, some)
    for place in ('.ipynb_checkpoints', '__MACOSX'):
        made.save(some[0], tmp_path / 'images/train' / place / 'scene 0.jpg')
    made.save(some[0], tmp_path / 'images/train/._scene 0.jpg')
    (tmp_path / 'images/again').symlink_to(tmp_path)
    assert len(Folder(tmp_path).images) == 2
    assert len(read_folder(tmp_path).images) == 2


def test_no_folder_and_no_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='there is no folder'):
        read_folder(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='no labelled images found'):
        read_folder(tmp_path)


def test_two_formats_in_a_folder(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_coco(tmp_path, some)
    made.write_voc(tmp_path, some)
    with pytest.raises(UserError, match='annotations in coco and voc'):
        read_folder(tmp_path)
    assert read_folder(tmp_path, 'voc').format == 'voc'


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    made.write_coco(tmp_path, made.scenes(2))
    for path in (tmp_path / 'train').iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r'no labelled image.*\n.*not in the folder'):
        read_folder(tmp_path)


def test_sizes_of_a_picture_in_grey(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(tmp_path / 'a.png')
    assert image_size(tmp_path / 'a.png') == (7, 4)


@pytest.mark.parametrize('kind', ['JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_the_size_is_what_is_loaded(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    """Telephones write MPO; which formats are turned depends on OpenCV's version."""
    import mmcv

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (40, 20)).save(path, kind, exif=exif)
    loaded = mmcv.imfrombytes(path.read_bytes(), flag='color', backend='cv2')
    assert image_size(path) == loaded.shape[1::-1]


@pytest.mark.parametrize(
    ('name', 'near', 'found'),
    [
        ('cam1/1.jpg', 'a.json', 'cam1/1.jpg'),
        ('cam1/2.jpg', 'a.json', None),  # not the one of cam2
        ('cam3/1.jpg', 'a.json', None),  # which of two?
        ('cam3/2.jpg', 'a.json', 'cam2/2.jpg'),  # another machine's folder
        ('/home/me/cam2/1.jpg', 'a.json', 'cam2/1.jpg'),
        ('C:\\data\\cam2\\1.jpg', 'a.json', 'cam2/1.jpg'),
        ('2.jpg', 'labels/cam1/2.txt', None),
        ('1.jpg', 'labels/cam2/1.txt', 'cam2/1.jpg'),
        ('2.jpg', 'labels/2.txt', 'cam2/2.jpg'),
        ('../cam2/2.jpg', 'labels/2.txt', 'cam2/2.jpg'),
    ],
)
def test_an_image_of_the_same_name_elsewhere(
    name: str, near: str, found: str | None, tmp_path: Path
) -> None:
    for one in ('cam1/1.jpg', 'cam2/1.jpg', 'cam2/2.jpg'):
        (tmp_path / one).parent.mkdir(exist_ok=True)
        (tmp_path / one).touch()
    assert Folder(tmp_path).image_of(name, near) == found


def test_words_of_a_pictures_name_are_no_split_in_labelme(tmp_path: Path) -> None:
    some = made.scenes(4)
    names = ('crash_test_01.jpg', 'dev-board_1.jpg', 'val_gardena.jpg', 'train.jpg')
    for one, name in zip(some, names, strict=True):
        one.name = name
    made.write_labelme(tmp_path / 'all', some)
    assert read_folder(tmp_path / 'all').splits() == {'': 4}
    some[0].split = 'val'
    made.write_labelme(tmp_path / 'parts', some)
    assert read_folder(tmp_path / 'parts').splits() == {'train': 3, 'val': 1}


def test_shapes_of_labelme_that_have_no_class_or_wrong_types(tmp_path: Path) -> None:
    (scene,) = made.scenes(1)
    content = made.labelme_content(scene, masks=False)
    good = {**content['shapes'][0], 'label': ' a '}
    content['shapes'] = [
        good,
        {**good, 'label': 'a'},
        {**good, 'label': None},
        {**good, 'label': '  '},
        {**good, 'label': ['a']},
        5,
        {**good, 'points': 7},
        {**good, 'points': [[1, None], [9, 9]]},
        {**good, 'shape_type': 'mask', 'mask': 3},
        {**good, 'shape_type': 'mask', 'points': None},
    ]
    made.save(scene, tmp_path / scene.name)
    file = (tmp_path / scene.name).with_suffix('.json')
    made.write_json(file, content)
    found = read_folder(tmp_path)
    assert found.classes == ('a',)
    assert [one.partition(', shape ')[2] for one in found.left_out] == [
        '3: it has no label',
        '4: it has no label',
        '5: its label is no text',
        '6: it has no keys: it needs label and points',
        '7: its points are no pairs of numbers',
        '8: its points are no pairs of numbers',
        '9: its mask is no picture (PNG in base64)',
        '10: it has no points',
    ]
    assert str(file) in found.left_out[0]


def test_labelme_without_a_list_of_shapes_is_left_out(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_labelme(tmp_path, some)
    content = made.labelme_content(some[1], masks=False)
    made.write_json(tmp_path / 'scene 1.json', {**content, 'shapes': None})
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['scene 0.jpg']
    assert found.left_out == [
        'scene 1.json: shapes is no list; it is [] without objects'
    ]  # fmt: skip


def write_boxes(root: Path, *names: str, labels: str = 'labels') -> None:
    """Write images below `images` with one box each, of the class 0."""
    (scene,) = made.scenes(1)
    for name in names:
        made.save(scene, root / 'images' / f'{name}.jpg')
        path = root / labels / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('0 0.5 0.5 0.2 0.2\n')


def test_yolo_pictures_with_the_names_of_lists(tmp_path: Path) -> None:
    names = ('train', 'val', 'test', 'valid', 'notes', 'license', 'labels', 'a readme')
    write_boxes(tmp_path, *names)
    for name in ('classes', 'notes_of_mine_readme'):
        (tmp_path / 'labels' / f'{name}.txt').write_text('car\n')
    found = read_folder(tmp_path)
    assert found.classes == ('car',)
    assert found.splits() == {'': 8}
    assert [len(one.objects) for one in found.images] == [1] * 8
    assert not found.notes
    assert not found.left_out
    made.write_labels(made.scenes(1)[0], tmp_path / 'beside/test.txt', masks=False)
    made.save(made.scenes(1)[0], tmp_path / 'beside/test.jpg')
    (tmp_path / 'data.yaml').write_text('names: [a, b, c]\n')
    assert read_folder(tmp_path).images[0].objects


def test_yolo_labels_in_any_case(tmp_path: Path) -> None:
    write_boxes(tmp_path, 'a', 'A', labels='Labels')
    (tmp_path / 'Labels/a.txt').rename(tmp_path / 'Labels/a.TXT')
    (tmp_path / 'Labels/A.txt').write_text('')
    (tmp_path / 'data.yaml').write_text('names: [car]\n')
    found = read_folder(tmp_path)
    assert {one.path.stem: len(one.objects) for one in found.images} == {'a': 1, 'A': 0}
    assert not found.notes
    assert not found.left_out


def test_yolo_names_the_key_whose_path_is_wrong(tmp_path: Path) -> None:
    write_boxes(tmp_path, 'train/0', 'val/1', 'val/2')
    file = tmp_path / 'data.yaml'
    file.write_text('names: [car]\ntrain: images/train\nval: images/valid_set\n')
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 1}
    assert found.left_out == [
        f"{file}, val: no image is found at 'images/valid_set'. Correct the path"
    ]
    assert found.notes == [
        '2 images have no place in train, val or test and are not used, such as '
        'images/val/1.jpg'
    ]
    file.write_text('names: [car]\ntrain: ./\nval: [images/val, lost.txt]\n')
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 3}
    assert [one.partition(': ')[0] for one in found.left_out] == [f'{file}, val']
    assert found.notes == [
        '2 images are in train and in val, such as images/val/1.jpg: they are used '
        'for train only'
    ]


def test_yolo_lists_of_images(tmp_path: Path) -> None:
    write_boxes(tmp_path, '0', '1', '2', '3')
    (tmp_path / 'train.txt').write_text(
        '/home/me/images/0.jpg\n.\\images\\1.jpg\r\n\nimages/99.jpg\n./images/2.jpg\n'
    )
    (tmp_path / 'val.txt').write_text('images/2.jpg\nimages/3.jpg\n')
    text = 'names: [car]\ntrain: train.txt\nval: val.txt\n'
    for name, content in (('data.yaml', text), ('obj.names', 'car\n')):
        (tmp_path / name).write_text(content)
        found = read_folder(tmp_path)
        (tmp_path / name).unlink()
        assert found.splits() == {'train': 3, 'val': 1}
        assert found.left_out == [
            f"{tmp_path / 'train.txt'}, line 4: no image 'images/99.jpg' in the folder"
        ]
        assert found.notes == [
            '1 images are in train and in val, such as images/2.jpg: they are used '
            'for train only'
        ]


def test_yolo_classes_with_a_blank_line(tmp_path: Path) -> None:
    write_boxes(tmp_path, 'a')
    (tmp_path / 'classes.txt').write_text('zero\none\n\n \n')
    assert read_folder(tmp_path).classes == ('zero', 'one')
    (tmp_path / 'classes.txt').write_text('zero\n\ntwo\n')
    with pytest.raises(UserError, match=r'classes\.txt, line 2 is blank'):
        read_folder(tmp_path)


def test_a_link_to_a_folder_that_is_read_is_said(tmp_path: Path) -> None:
    write_boxes(tmp_path, 'train/0', 'train/1')
    # It comes before `train` by name, and tells another split.
    (tmp_path / 'images/dev').symlink_to('train')
    (tmp_path / 'data.yaml').write_text(
        'names: [car]\ntrain: images/train\nval: images/dev\n'
    )
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 2}
    assert "val: no image is found at 'images/dev'" in found.left_out[0]
    images = tmp_path / 'images'
    assert found.notes == [
        f'{images / "dev"} leads to {images / "train"}, whose files count once'
    ]


def test_an_xml_file_of_a_renamed_picture_is_about_its_own(tmp_path: Path) -> None:
    some = made.scenes(3)
    size = some[0].size
    for one in some:
        one.pixels = some[0].pixels
    made.write_voc_roboflow(tmp_path, some)
    folder = tmp_path / 'train'
    for number in (2, 1, 0):
        for kind in ('jpg', 'xml'):
            old = folder / f'scene {number}.{kind}'
            old.rename(folder / f'scene {number + 1}.{kind}')
    found = read_folder(tmp_path)
    for image, scene in zip(found.images, some, strict=True):
        assert image.path.name == f'scene {int(scene.name[6]) + 1}.jpg'
        assert (image.width, image.height) == size
        assert [one.name for one in image.objects] == [t.name for t in scene.things]
    assert found.notes == [
        '2 XML files say another filename than that of the image with their own name, '
        'which is used: such as train/scene 2.xml (it says scene 1.jpg)'
    ]


@pytest.mark.parametrize('line', ['{}.jpg', '{} 1', '{} -1', 'JPEGImages/{}.jpg\t0'])
def test_lists_of_voc_with_suffixes_and_flags(line: str, tmp_path: Path) -> None:
    made.write_voc(tmp_path, made.scenes(4, splits=('train', 'val')))
    folder = tmp_path / 'ImageSets/Main'
    for file in folder.iterdir():
        names = file.read_text().splitlines()
        file.write_bytes('\r\n'.join(map(line.format, names)).encode())
    # Of one class: says nothing about the split.
    (folder / 'cat_train.txt').write_text('scene 0 1\nscene 1 -1\n')
    found = read_folder(tmp_path)
    splits = {one.path.name: one.split for one in found.images}
    assert splits == {f'scene {n}.jpg': ('train', 'val')[n % 2] for n in range(4)}
    assert not found.notes
    (folder / 'val.txt').write_text('nothing\n')
    assert read_folder(tmp_path).notes == [
        f'{folder / "val.txt"} names none of the XML files'
    ]
