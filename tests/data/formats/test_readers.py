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
