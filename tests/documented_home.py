"""A home folder with what the pages take for granted: pictures, sets, checkpoints.

All of it is small: the built-in sets have a few images under the name of the real ones,
and the checkpoints have random weights.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import labelled_folders as made
import torch
from checkpoints import write_checkpoint
from PIL import Image

import paperzoo
from paperzoo.apis.init_config import init_config
from paperzoo.data import glyphs, shapes

SETTLED = 'work_dirs/knet_tiny_shapes_instance'
# Of which config each checkpoint is.
CHECKPOINTS = {
    'work/epoch_18.pth': 'fcos_tiny_shapes',
    'work/epoch_95.pth': 'protonet_tiny_glyphs',
    'epoch_1.pth': 'fcos_tiny_shapes',
    'epoch_18.pth': 'fcos_tiny_shapes',
    f'{SETTLED}/epoch_1.pth': 'knet_tiny_shapes_instance',
    f'{SETTLED}/epoch_2.pth': 'knet_tiny_shapes_instance',
    'can.pth': 'can_tiny_glyphs',
    'dmf.pth': 'dmf_tiny_glyphs',
    'feat.pth': 'feat_tiny_glyphs',
    'protonet.pth': 'protonet_tiny_glyphs',
}


def write_home(home: Path) -> None:
    """Write everything; each page gets a copy of it."""
    write_sets(home / '.cache' / 'paperzoo')
    write_pictures(home)
    write_faults(home)
    for name, config in CHECKPOINTS.items():
        write_checkpoint(config, home / name)
    cfg = paperzoo.load_config('knet_tiny_shapes_instance')
    cfg.dump(home / SETTLED / 'knet_tiny_shapes_instance.py')
    from mmdet.models import ResNet

    place = home / '.cache/torch/hub/checkpoints/resnet50-0676ba61.pth'
    place.parent.mkdir(parents=True)
    torch.save(ResNet(50).state_dict(), place)


def write_sets(cache: Path) -> None:
    """Write small built-in sets that say of themselves that they are whole."""
    few = shapes.ShapesSpec(num_train=4, num_val=8)
    shapes.generate_shapes(cache / 'shapes', few)
    whole = {**asdict(shapes.ShapesSpec()), 'generator_version': 2}
    (cache / 'shapes' / 'spec.json').write_text(json.dumps(whole))
    few_glyphs = glyphs.GlyphsSpec(num_train=30, num_val=6, num_test=6)
    glyphs.generate_glyphs(cache / 'glyphs', few_glyphs)
    whole = {**asdict(glyphs.GlyphsSpec()), 'generator_version': 1}
    (cache / 'glyphs' / 'spec.json').write_text(json.dumps(whole))


def write_pictures(home: Path) -> None:
    """Write the folders of pictures of somebody who reads the pages."""
    made.write_yolo(home / 'my_pictures', made.scenes(4, splits=('train', 'val')))
    made.write_classes(home / 'my_classes', classes=6, images=6)
    splits = ('train', 'val', 'test')
    made.write_coco(home / 'bccd', made.scenes(9, splits=splits))
    (home / 'bccd/images').mkdir()
    for split in splits:
        for picture in (home / 'bccd' / split).iterdir():
            picture.rename(home / 'bccd/images' / picture.name)
    for folder in ('mine', 'my_images', 'val'):
        (home / folder).mkdir()
        for number in range(1, 5):
            picture = home / f'.cache/paperzoo/shapes/val/{number:06}.jpg'
            (home / folder / picture.name).write_bytes(picture.read_bytes())
    (home / 'mine' / 'cut.jpg').write_bytes(picture.read_bytes()[:900])
    Image.new('RGB', (80, 60), (90, 60, 30)).save(home / 'street.jpg')
    Image.new('RGB', (60, 60)).save(home / 'query.jpg')


def write_faults(home: Path) -> None:
    """Write what the pages show messages about."""
    (home / 'results.pkl').write_bytes(pickle.dumps([1]))
    root = home / 'faulty'
    made.write_coco(root, made.scenes(9, splits=('train', 'val')))
    for split in ('train', 'val'):
        annotations = root / f'annotations/instances_{split}.json'
        annotations.rename(root / f'annotations/{split}.json')
    init_config(root, home / 'my_config.py', scratch=True)
    change(root / 'annotations/train.json', same_ids)
    change(root / 'annotations/val.json', no_area)


def same_ids(content: dict) -> None:
    content['images'][1]['id'] = content['images'][0]['id']


def no_area(content: dict) -> None:
    for one in content['annotations'][-2:]:
        one['bbox'][2] = 0


def change(file: Path, how: Callable[[dict], None]) -> None:
    content = json.loads(file.read_text('utf-8'))
    how(content)
    file.write_text(json.dumps(content), 'utf-8')
