import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from paperzoo.data import shapes
from paperzoo.data.shapes import (
    STUFF_CLASSES,
    THING_CLASSES,
    ShapesSpec,
    generate_shapes,
)
from paperzoo.errors import UserError

SMALL = ShapesSpec(num_train=3, num_val=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """The set as users get it."""
    return generate_shapes(tmp_path_factory.mktemp('cache') / 'shapes')


@pytest.fixture(scope='module')
def cocos(root):
    return {
        split: COCO(root / f'annotations/instances_{split}.json')
        for split in ('train', 'val')
    }


@pytest.fixture(scope='module')
def panoptics(root):
    return {
        split: json.loads((root / f'annotations/panoptic_{split}.json').read_text())
        for split in ('train', 'val')
    }


def column(coco, key):
    return np.array([annotation[key] for annotation in coco.anns.values()])


def read_rgb(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def read_ids(path):
    return read_rgb(path).astype(int) @ [1, 256, 256**2]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


# What the set looks like


@pytest.mark.parametrize(('split', 'count'), [('train', 400), ('val', 100)])
def test_images_are_there_and_have_the_size_that_is_written(root, cocos, split, count):
    images = cocos[split].dataset['images']
    assert [image['id'] for image in images] == list(range(1, count + 1))
    assert len(list((root / split).iterdir())) == count
    for image in images:
        assert read_rgb(root / split / image['file_name']).shape == (240, 320, 3)
        assert (image['height'], image['width']) == (240, 320)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_images_have_one_to_eight_objects(cocos, split):
    image_ids, counts = np.unique(column(cocos[split], 'image_id'), return_counts=True)
    assert len(image_ids) == len(cocos[split].imgs)
    assert set(counts) == set(range(1, 9))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_kind_is_about_as_frequent(cocos, split):
    _, counts = np.unique(column(cocos[split], 'category_id'), return_counts=True)
    assert len(counts) == len(THING_CLASSES) == 7
    assert counts.min() > 0.6 * counts.max()


@pytest.mark.parametrize(('split', 'tolerance'), [('train', 0.04), ('val', 0.08)])
def test_sizes_are_even_in_log_scale(cocos, split, tolerance):
    full_area = column(cocos[split], 'area') / (1 - column(cocos[split], 'occluded'))
    side = np.sqrt(full_area)
    assert side.min() > 15.8
    assert side.max() < 129
    octaves = np.sort(np.log2(side / 16))
    # Kolmogorov-Smirnov distance from the even distribution over three octaves.
    ranks = (np.arange(len(octaves)) + 0.5) / len(octaves)
    assert np.abs(octaves / 3 - ranks).max() < tolerance


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_quarter_is_occluded_and_all_is_visible(cocos, split):
    occluded = column(cocos[split], 'occluded')
    assert (occluded > 0.2).mean() >= 0.25
    assert occluded.min() == 0
    assert occluded.max() <= 0.6
    assert column(cocos[split], 'area').min() >= 64


def mean_colours(root, coco, split):
    images = {
        image['id']: read_rgb(root / split / image['file_name']).copy()
        for image in coco.imgs.values()
    }
    return np.array(
        [
            cv2.mean(images[annotation['image_id']], coco.annToMask(annotation))[:3]
            for annotation in coco.anns.values()
        ]
    )


def test_colour_does_not_tell_the_kind(root, cocos):
    kinds = {split: column(cocos[split], 'category_id') for split in cocos}
    colours = {split: mean_colours(root, cocos[split], split) for split in cocos}
    centres = np.array(
        [colours['train'][kinds['train'] == k].mean(0) for k in range(1, 8)]
    )
    distance = np.linalg.norm(colours['val'][:, None] - centres, axis=-1)
    accuracy = (distance.argmin(1) + 1 == kinds['val']).mean()
    assert accuracy < 1 / 7 + 0.10


def test_images_have_one_to_three_kinds_of_stuff(panoptics):
    counts = set()
    for panoptic in panoptics['train']['annotations']:
        kinds = [segment['category_id'] for segment in panoptic['segments_info']]
        stuff = [kind for kind in kinds if kind > 7]
        assert len(set(stuff)) == len(stuff)
        assert set(stuff) <= {8, 9, 10}
        counts.add(len(stuff))
    assert counts == {1, 2, 3}


# The files agree with each other


def test_categories(cocos, panoptics):
    names = {i + 1: n for i, n in enumerate(THING_CLASSES + STUFF_CLASSES)}
    for split in cocos:
        things = {c['id']: c['name'] for c in cocos[split].dataset['categories']}
        assert list(things.values()) == list(THING_CLASSES)
        both = panoptics[split]['categories']
        assert {c['id']: c['name'] for c in both} == names
        assert (
            {c['id'] for c in both if c['isthing']} == set(things) == set(range(1, 8))
        )


def test_masks_boxes_and_areas_agree_with_the_panoptic_pictures(root, cocos, panoptics):
    coco = cocos['val']
    kinds_of_segmentation = set()
    for panoptic in panoptics['val']['annotations']:
        ids = read_ids(root / 'annotations/panoptic_val' / panoptic['file_name'])
        things = [s for s in panoptic['segments_info'] if s['category_id'] <= 7]
        instances = coco.imgToAnns[panoptic['image_id']]
        assert len(things) == len(instances)
        for segment, instance in zip(things, instances, strict=True):
            mask = ids == segment['id']
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            for record in (segment, instance):
                assert record['bbox'] == box
                assert record['area'] == mask.sum()
                assert record['iscrowd'] == 0
            assert segment['category_id'] == instance['category_id']
            is_polygon = isinstance(instance['segmentation'], list)
            kinds_of_segmentation.add(is_polygon)
            expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            overlap = coco_mask.iou([coco.annToRLE(instance)], [expected], [0])
            assert overlap >= (0.9 if is_polygon else 1)
    assert kinds_of_segmentation == {True, False}


def test_every_pixel_belongs_to_one_segment_and_semantic_agrees(root, panoptics):
    for panoptic in panoptics['val']['annotations']:
        name = panoptic['file_name']
        ids = read_ids(root / 'annotations/panoptic_val' / name)
        semantic = cv2.imread(str(root / 'semantic/val' / name), cv2.IMREAD_UNCHANGED)
        assert semantic.dtype == np.uint8
        assert semantic.shape == ids.shape == (240, 320)
        infos = {s['id']: s for s in panoptic['segments_info']}
        assert len(infos) == len(panoptic['segments_info'])
        assert set(np.unique(ids)) == set(infos)
        categories = np.zeros(max(infos) + 1, int)
        categories[list(infos)] = [s['category_id'] for s in infos.values()]
        np.testing.assert_array_equal(semantic + 1, categories[ids])
        assert sum(s['area'] for s in infos.values()) == ids.size


def test_pictures_show_what_the_masks_say(root, cocos):
    """Across the border of a wholly visible object the picture changes."""
    coco, contrasts = cocos['val'], []
    for annotation in coco.anns.values():
        if annotation['occluded'] == 0:
            mask = coco.annToMask(annotation)
            around = cv2.dilate(mask, np.ones((7, 7))) - cv2.dilate(
                mask, np.ones((3, 3))
            )
            name = coco.imgs[annotation['image_id']]['file_name']
            gray = cv2.imread(str(root / 'val' / name), cv2.IMREAD_GRAYSCALE)
            contrasts.append(abs(cv2.mean(gray, mask)[0] - cv2.mean(gray, around)[0]))
    assert np.mean(np.array(contrasts) > 20) > 0.9


# Making it


def test_an_image_depends_on_seed_split_and_index_only(root, tmp_path):
    small = generate_shapes(tmp_path / 'small', SMALL)
    for name, data in contents(small).items():
        if name.endswith(('.jpg', '.png')):
            assert (root / name).read_bytes() == data, name
    first = {
        (small / 'train/000001.jpg').read_bytes(),
        (small / 'train/000002.jpg').read_bytes(),
        (small / 'val/000001.jpg').read_bytes(),
    }
    other = generate_shapes(tmp_path / 'other', ShapesSpec(1, 1, seed=1))
    first.add((other / 'train/000001.jpg').read_bytes())
    assert len(first) == 4


def test_second_call_changes_nothing(tmp_path, monkeypatch):
    generate_shapes(tmp_path / 'shapes', SMALL)
    before = contents(tmp_path)
    monkeypatch.setattr(shapes, 'draw_scene', None)
    assert generate_shapes(tmp_path / 'shapes', SMALL) == tmp_path / 'shapes'
    assert contents(tmp_path) == before


def test_interruption_leaves_nothing_half_made(tmp_path, monkeypatch):
    scenes = iter([shapes.draw_scene(np.random.default_rng(0), 320, 240)] * 2)

    def interrupted(*args):
        for scene in scenes:
            return scene
        assert (tmp_path / 'shapes.unfinished/train/000002.jpg').exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapes, 'draw_scene', interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_shapes(tmp_path / 'shapes', SMALL)
    assert {path.name for path in tmp_path.iterdir()} <= {'shapes.lock'}


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path):
    leftover = tmp_path / 'shapes.unfinished/train/000009.jpg'
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b'half an ima')
    generate_shapes(tmp_path / 'shapes', SMALL)
    assert len(list((tmp_path / 'shapes/train').iterdir())) == 3
    assert not leftover.parent.exists()


def test_two_processes_at_once_make_one_intact_set(tmp_path):
    code = (
        'import sys, pathlib; from paperzoo.data.shapes import *; '
        'generate_shapes(pathlib.Path(sys.argv[1]), ShapesSpec(12, 2))'
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'twice')]
    repository = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert ''.join(outputs).count('is ready') == 1
    once = generate_shapes(tmp_path / 'once', ShapesSpec(12, 2))
    assert contents(tmp_path / 'twice') == contents(once)


def test_another_spec_is_refused(tmp_path):
    generate_shapes(tmp_path / 'shapes', SMALL)
    with pytest.raises(UserError) as error:
        generate_shapes(tmp_path / 'shapes', ShapesSpec(num_train=3, num_val=2, seed=7))
    message = str(error.value)
    assert 'seed is 0, wanted 7' in message
    assert 'num_train' not in message
    assert f'Delete the folder {tmp_path / "shapes"}' in message


def test_older_generator_is_refused(tmp_path, monkeypatch):
    generate_shapes(tmp_path / 'shapes', SMALL)
    monkeypatch.setattr(shapes, 'GENERATOR_VERSION', 99)
    with pytest.raises(UserError, match=r'generator_version is \d+, wanted 99'):
        generate_shapes(tmp_path / 'shapes', SMALL)


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'shapes').mkdir()
    (tmp_path / 'shapes/thesis.tex').write_text('mine')
    with pytest.raises(UserError, match=r'no readable spec\.json'):
        generate_shapes(tmp_path / 'shapes', SMALL)
    assert contents(tmp_path / 'shapes') == {'thesis.tex': b'mine'}


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'cache').write_text('a file')
    with pytest.raises(UserError, match=r'cannot be written to .*PAPERZOO_CACHE'):
        generate_shapes(tmp_path / 'cache/shapes', SMALL)


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / 'shapes').mkdir()
    generate_shapes(tmp_path / 'shapes', SMALL)
    assert (tmp_path / 'shapes/spec.json').exists()


@pytest.mark.parametrize(
    'wrong', [{'width': 200}, {'num_val': 0}, {'seed': -1}, {'height': 239}]
)
def test_impossible_spec_is_refused(wrong):
    key, value = next(iter(wrong.items()))
    with pytest.raises(UserError, match=f'{key}={value}'):
        ShapesSpec(**wrong)
