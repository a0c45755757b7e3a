"""Every layout of every format gives the truth that it was written from."""

import json
from pathlib import Path
from typing import Any

import labelled_folders as made
import numpy as np
import pytest
from labelled_folders import BOXES, CLASSES, MASKS, UNSPLIT

from paperzoo.data.formats import folder as folder_module
from paperzoo.data.formats.description import LabelledImage
from paperzoo.data.formats.folder import Folder
from paperzoo.data.formats.recognise import formats_of, read_folder
from paperzoo.errors import UserError

SPLITS = ('train', 'val', 'test')


def compare(images: list[LabelledImage], some: list, masks: bool) -> None:
    by_name = {one.path.name: one for one in images}
    assert sorted(by_name) == sorted(one.name for one in some)
    for scene in some:
        image = by_name[scene.name]
        assert (image.width, image.height) == scene.size
        assert [one.name for one in image.objects] == [t.name for t in scene.things]
        boxes = np.array([one.box for one in image.objects])
        np.testing.assert_allclose(boxes, [t.box for t in scene.things], atol=1e-5)
        for one, thing in zip(image.objects, scene.things, strict=True):
            if masks:
                np.testing.assert_allclose(one.mask, [thing.polygon], atol=1e-5)


@pytest.mark.parametrize('name', BOXES)
def test_boxes(name: str, tmp_path: Path) -> None:
    some = made.scenes(6, splits=SPLITS)
    root = tmp_path / 'my cells'
    BOXES[name](root, some)
    found = read_folder(root)
    assert found.format == name.split('-')[0]
    assert sorted(found.classes) == sorted(CLASSES)
    assert not found.left_out
    compare(found.images, some, masks=False)
    wanted = {'train': 6} if name == 'yolo-darknet' else dict.fromkeys(SPLITS, 2)
    assert found.splits() == ({'': 6} if name in UNSPLIT else wanted)


@pytest.mark.parametrize('name', MASKS)
def test_polygons(name: str, tmp_path: Path) -> None:
    some = made.scenes(4, splits=('train', 'val'))
    MASKS[name](tmp_path, some, masks=True)
    compare(read_folder(tmp_path).images, some, masks=True)


def test_the_classes_of_coco_and_yolo_keep_their_order(tmp_path: Path) -> None:
    for name in ('coco', 'yolo', 'cvat'):
        BOXES[name](tmp_path / name, made.scenes(3))
        assert read_folder(tmp_path / name).classes == CLASSES


def test_a_root_category_is_no_class(tmp_path: Path) -> None:
    made.write_coco_roboflow(tmp_path, made.scenes(3))
    found = read_folder(tmp_path)
    assert 'cells' not in found.classes
    assert "the category 'cells' (id 0) only groups" in found.notes[0]


def test_a_root_category_named_like_a_class_takes_no_label(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_coco_roboflow(tmp_path, some)
    file = tmp_path / 'train/_annotations.coco.json'
    content = json.loads(file.read_text())
    content['categories'][0]['name'] = CLASSES[0]
    for one in content['categories'][1:]:
        one['supercategory'] = CLASSES[0]
    file.write_text(json.dumps(content))
    found = read_folder(tmp_path)
    assert found.classes == CLASSES
    # mmdet would find two categories of this name.
    assert not found.files
    compare(found.images, some, masks=False)


def test_stock_classes_get_their_files_where_they_can_read_them(tmp_path: Path) -> None:
    made.write_coco(tmp_path, made.scenes(4, splits=('train', 'val')))
    found = read_folder(tmp_path)
    assert found.files == {
        'train': ('annotations/instances_train.json', 'train/'),
        'val': ('annotations/instances_val.json', 'val/'),
    }


def test_run_lengths_that_do_not_cover_the_image(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_coco(tmp_path, some)
    file = tmp_path / 'annotations/instances_train.json'
    image = json.loads(file.read_text())['images'][0]
    short = {'size': [image['height'], image['width']], 'counts': [3, 4]}
    change(file, image_id=image['id'], segmentation=short)
    found = read_folder(tmp_path)
    assert 'run lengths of the mask do not cover' in found.left_out[0]


def change(file: Path, **content: Any) -> None:
    whole = json.loads(file.read_text())
    for key, value in content.items():
        whole['annotations'][0][key] = value
    file.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ('key', 'value', 'why'),
    [
        ('bbox', [3, 4, 0, 9], 'no area'),
        ('bbox', [3, 4, 'x', 9], 'not left, top, width, height'),
        ('bbox', [10**400, 4, 5, 9], 'not left, top, width, height'),
        ('bbox', [float('nan'), 4, 5, 9], 'no number'),
        ('bbox', [900, 4, 5, 9], 'outside of the image'),
        ('category_id', 77, 'no category has the id 77'),
        ('image_id', 77, 'no image 77'),
        ('segmentation', {'counts': [3, 4], 'size': [1, 7]}, 'the mask has'),
        ('segmentation', {'size': [1, 7]}, 'no counts'),
        ('segmentation', [['a'] * 6], 'neither polygons'),
        ('segmentation', [[10**400, 1, 2, 3, 4, 5]], 'neither polygons'),
    ],
)
def test_a_wrong_annotation_is_left_out_and_said(
    key: str, value: Any, why: str, tmp_path: Path
) -> None:
    some = made.scenes(3)
    made.write_coco(tmp_path, some)
    file = tmp_path / 'annotations/instances_train.json'
    change(file, **{key: value})
    found = read_folder(tmp_path)
    assert len(found.left_out) == 1
    assert f'{file}, annotation 1' in found.left_out[0]
    assert why in found.left_out[0]
    assert sum(len(one.objects) for one in found.images) == (
        sum(len(one.things) for one in some) - 1
    )
    assert not found.files


def test_ids_may_be_anything(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_coco(tmp_path, some)
    file = tmp_path / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    for one in content['images']:
        one['id'] = f'image {one["id"]}'
    for one in content['annotations']:
        one['image_id'], one['id'] = f'image {one["image_id"]}', 0
    file.write_text(json.dumps(content))
    found = read_folder(tmp_path)
    compare(found.images, some, masks=False)
    assert not found.files


def test_voc_counts_from_one_and_others_do_not(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_voc(tmp_path / 'voc', some)
    made.write_voc_roboflow(tmp_path / 'other', some)
    compare(read_folder(tmp_path / 'voc').images, some, masks=False)
    compare(read_folder(tmp_path / 'other').images, some, masks=False)
    text = next((tmp_path / 'voc/Annotations').glob('*0.xml')).read_text()
    assert f'<xmin>{some[0].things[0].box[0] + 1}</xmin>' in text


def test_labelme_shapes(tmp_path: Path) -> None:
    (scene,) = made.scenes(1)
    scene.things.clear()
    content = made.labelme_content(scene, masks=True)
    shape: dict[str, Any] = {'label': 'a', 'group_id': None, 'flags': {}}
    content['shapes'] = [
        {**shape, 'shape_type': 'circle', 'points': [[40, 30], [40, 50]]},
        {**shape, 'shape_type': 'polygon', 'group_id': 7,
         'points': [[1, 1], [9, 1], [9, 9]]},
        {**shape, 'shape_type': 'polygon', 'group_id': 7,
         'points': [[20, 1], [29, 1], [29, 9]]},
        {**shape, 'shape_type': 'point', 'points': [[3, 3]]},
        {**shape, 'shape_type': 'line', 'points': [[3, 3], [9, 9]]},
    ]  # fmt: skip
    made.save(scene, tmp_path / scene.name)
    file = (tmp_path / scene.name).with_suffix('.json')
    made.write_json(file, content)
    found = read_folder(tmp_path)
    circle, pair = found.images[0].objects
    np.testing.assert_allclose(circle.box, (20, 10, 60, 50), atol=1e-9)
    from pycocotools import mask as coco_mask

    width, height = scene.size
    area = coco_mask.area(coco_mask.frPyObjects(circle.mask, height, width)[0])
    assert area == pytest.approx(np.pi * 20**2, rel=0.02)
    assert pair.box == (1, 1, 29, 9)
    assert len(pair.mask) == 2
    assert [one.rpartition(': ')[2] for one in found.left_out] == [
        'a point of 1 points has no area',
        'a line of 2 points has no area',
    ]
    assert f'{file}, shape 4' in found.left_out[0]


def test_a_painted_mask_of_labelme(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    from paperzoo.utils.masks import decode

    (scene,) = made.scenes(1)
    small = np.zeros((6, 8), np.uint8)
    small[1:5, 2:8] = 255
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, 'PNG')
    content = made.labelme_content(scene, masks=True)
    content['shapes'] = [
        {
            'label': 'a',
            'shape_type': 'mask',
            'points': [[30, 20], [37, 25]],
            'mask': base64.b64encode(buffer.getvalue()).decode(),
        }
    ]
    outside = {**content['shapes'][0], 'points': [[float('inf'), 20]]}
    huge = {'label': 'a', 'points': [[10**400, 1], [9, 1], [9, 9]]}
    content['shapes'] += [outside, huge]
    made.save(scene, tmp_path / scene.name)
    made.write_json((tmp_path / scene.name).with_suffix('.json'), content)
    found = read_folder(tmp_path)
    assert len(found.left_out) == 2
    (one,) = found.images[0].objects
    assert one.box == (32, 21, 38, 25)
    mask = decode({'segmentation': one.mask})
    assert mask.sum() == 24
    assert mask[21:25, 32:38].all()


@pytest.mark.data
@pytest.mark.parametrize('name', ['yolo', 'voc', 'labelme'])
def test_real_boxes_are_those_of_coco(
    name: str, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    truth = read_folder(real_data / 'bccd')
    some = []
    for image in truth.images[::30]:
        pixels = np.asarray(Image.open(image.path).convert('RGB'))
        things = []
        for one in image.objects:
            left, top, right, bottom = one.box
            corners = [left, top, right, top, right, bottom, left, bottom]
            things.append(made.Thing(one.name, corners))
        some.append(made.Scene(image.path.name, pixels, things, image.split))
    monkeypatch.setattr(made, 'CLASSES', truth.classes)
    BOXES[name](tmp_path, some)
    found = read_folder(tmp_path)
    assert sorted(found.classes) == sorted(truth.classes)
    compare(found.images, some, masks=False)


def test_formats_of_an_empty_folder(tmp_path: Path) -> None:
    assert formats_of(Folder(tmp_path)) == []


def test_recognition_parses_only_what_may_be_of_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_coco(tmp_path, made.scenes(4, splits=('train', 'val')))
    parsed: list[Path] = []
    parse = folder_module.parse_json

    def counted(text: str, path: Path) -> object:
        parsed.append(path)
        return parse(text, path)

    monkeypatch.setattr(folder_module, 'parse_json', counted)
    assert 'coco' in formats_of(Folder(tmp_path))
    assert len(parsed) == 1


def boxes_in(root: Path, names: dict[str, list[int]], **change: Any) -> None:
    """Write COCO files that each name some of the images, by the image's number."""
    some = made.scenes(1 + max(max(numbers) for numbers in names.values()))
    for one in some:
        made.save(one, root / one.name)
    for name, numbers in names.items():
        content = made.coco_content([some[one] for one in numbers], masks=False)
        for one in content['annotations']:
            one |= change
        made.write_json(root / name, content)


def numbers_of(images: list[LabelledImage]) -> list[int]:
    return sorted(int(one.path.stem.split()[-1]) for one in images)


@pytest.mark.parametrize('change', [{}, {'area': None}])
def test_trainval_says_no_more_than_train_and_val(
    change: dict[str, Any], tmp_path: Path
) -> None:
    names = {'train.json': [0, 1, 2], 'val.json': [3, 4]}
    boxes_in(tmp_path, {**names, 'trainval.json': [0, 1, 2, 3, 4]}, **change)
    found = read_folder(tmp_path)
    assert numbers_of(found.images) == [0, 1, 2, 3, 4]
    assert found.splits() == {'train': 3, 'val': 2}
    assert found.left_out == [
        f'{tmp_path}/trainval.json: 5 of its 5 images, such as scene 0.jpg, are in '
        'train.json, val.json, too, and are used as there'
    ]
    stock = {'train': ('train.json', ''), 'val': ('val.json', '')}
    assert found.files == ({} if change else stock)


def test_an_image_of_val_is_not_trained_on(tmp_path: Path) -> None:
    boxes_in(tmp_path, {'train.json': [0, 1, 2], 'val.json': [2, 3]})
    found = read_folder(tmp_path)
    train = [one for one in found.images if one.split == 'train']
    assert numbers_of(train) == [0, 1]
    assert numbers_of(found.images) == [0, 1, 2, 3]
    assert (
        '1 of its 3 images, such as scene 2.jpg, are in val.json' in (found.left_out[0])
    )
    assert len(found.left_out) == 1
    # mmdet would read all of train.json.
    assert not found.files


def test_a_copy_of_a_file_adds_nothing(tmp_path: Path) -> None:
    boxes_in(tmp_path, {'a (1).json': [0, 1], 'a.json': [0, 1]})
    found = read_folder(tmp_path)
    compare(found.images, made.scenes(2), masks=False)
    assert 'a.json: 2 of its 2 images' in found.left_out[0]


def test_two_files_to_train_on_are_no_stock_set(tmp_path: Path) -> None:
    boxes_in(tmp_path, {'train.json': [0, 1], 'extra.json': [2], 'val.json': [3]})
    found = read_folder(tmp_path)
    assert numbers_of(found.images) == [0, 1, 2, 3]
    assert not found.files
    (tmp_path / 'train.json').unlink()
    assert read_folder(tmp_path).files == {
        'train': ('extra.json', ''),
        'val': ('val.json', ''),
    }


def test_a_file_whose_images_are_of_several_splits_is_no_stock_set(
    tmp_path: Path,
) -> None:
    some = made.scenes(3, splits=('train', 'val', 'test'))
    content = made.coco_content(some, masks=False)
    for one, record in zip(some, content['images'], strict=True):
        made.save(one, tmp_path / one.split / one.name)
        record['file_name'] = f'{one.split}/{one.name}'
    made.write_json(tmp_path / 'a.json', content)
    found = read_folder(tmp_path)
    assert found.splits() == {'train': 1, 'val': 1, 'test': 1}
    assert not found.files


@pytest.mark.parametrize(
    ('written', 'crowd'),
    [
        (0, False),
        (1, True),
        (0.0, False),
        (False, False),
        (True, True),
        ('0', False),
        ('1', True),
        ('False', False),
        ('true', True),
        (None, False),
    ],
)
def test_a_crowd_of_coco(written: Any, crowd: bool, tmp_path: Path) -> None:
    boxes_in(tmp_path, {'a.json': [0]}, iscrowd=written)
    found = read_folder(tmp_path)
    assert {one.crowd for one in found.images[0].objects} == {crowd}
    assert not found.left_out
    # mmdet takes any text as a crowd.
    assert bool(found.files) is not isinstance(written, str)


@pytest.mark.parametrize('written', [2, 'maybe', '', [1], float('nan')])
def test_neither_crowd_nor_not(written: Any, tmp_path: Path) -> None:
    made.write_coco(tmp_path, made.scenes(3))
    file = tmp_path / 'annotations/instances_train.json'
    change(file, iscrowd=written)
    found = read_folder(tmp_path)
    assert found.left_out == [
        f'{file}, annotation 1: iscrowd is {written!r}, neither 0 nor 1'
    ]
    assert not found.files


def edit(file: Path, key: str, *records: dict[str, Any]) -> None:
    """Change the first records of a list in a JSON file."""
    whole = json.loads(file.read_text())
    for old, new in zip(whole[key], records, strict=False):
        old.update(new)
    file.write_text(json.dumps(whole))


def test_what_coco_says_twice_is_refused(tmp_path: Path) -> None:
    made.write_coco_cvat(tmp_path, made.scenes(3))
    file = tmp_path / 'annotations/instances_default.json'
    whole = file.read_text()
    edit(file, 'categories', {'id': 2})
    said = f"'{CLASSES[0]}' and '{CLASSES[1]}' both have the id 2. Give each its own"
    with pytest.raises(UserError, match=f'^{file}: the categories {said}'):
        read_folder(tmp_path)
    file.write_text(whole)
    edit(file, 'images', {}, {'file_name': 'scene 0.jpg'})
    with pytest.raises(
        UserError, match=rf'^{file}: the images 1 and 2 are both images/scene 0\.jpg'
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize('name', [None, ''])
def test_a_category_without_a_name(name: str | None, tmp_path: Path) -> None:
    made.write_coco_cvat(tmp_path, made.scenes(3))
    file = tmp_path / 'annotations/instances_default.json'
    edit(file, 'categories', {}, {'name': name})
    with pytest.raises(UserError, match=rf"{file}: categories\[1\] has no 'name'"):
        read_folder(tmp_path)


def test_a_number_as_a_name_is_a_class_but_not_for_mmdet(tmp_path: Path) -> None:
    made.write_coco_cvat(tmp_path, made.scenes(3))
    file = tmp_path / 'annotations/instances_default.json'
    edit(file, 'categories', {'name': 7})
    found = read_folder(tmp_path)
    assert found.classes == ('7', *CLASSES[1:])
    assert not found.files


def test_the_video_format_of_cvat_is_named(tmp_path: Path) -> None:
    made.save(made.scenes(1)[0], tmp_path / 'images/frame_000000.jpg')
    file = tmp_path / 'annotations.xml'
    file.write_text(
        '<annotations><track id="0" label="cat"><box frame="0" xtl="1" ytl="1" '
        'xbr="9" ybr="9" outside="0"/></track></annotations>'
    )
    with pytest.raises(UserError, match=f'{file}: it has tracks.*"CVAT for images 1.1'):
        read_folder(tmp_path)
