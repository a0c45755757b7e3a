"""Own data in six formats: init and what it prints, beside a config written by hand.

PAPERZOO_DATA=FOLDER python benchmarks/own_data.py --out own_data.json

BCCD's cells at half size as COCO, YOLO, Pascal VOC and LabelMe, CamVid's streets as
images and masks, Omniglot's characters as class folders and tables; as instances in
COCO's format CamVid's cars, each connected part one, and the people of coco100. For
each, the commands that `paperzoo init` prints run as they are printed, `train` with
`--epochs`; the config written by hand is a shipped one on the same images, as many
epochs. Random weights.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import commit
from PIL import Image

from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / 'tests'))

import labelled_folders as made  # noqa: E402  (of the tests)

CELLS = ('RBC', 'WBC', 'Platelets')
STREETS = (
    *('Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol', 'Fence'),
    *('Car', 'Pedestrian', 'Bicyclist'),
)
CHARACTERS = ('class_folders', 'csv')
INSTANCES = {'cars': 'car', 'people': 'person'}
LEAST = 100  # pixels of a car: what is further away is a blot
# More trainings of few-shot models: they differ more than the configs. Tables hold the
# images of the class folders: once is enough.
SEEDS = {'class_folders': (1, 2), 'csv': ()}
EPISODES = ' test_dataloader.dataset.episodes=600'  # 2000 tell no more here
# Model and options of init, the shipped config, the metric.
FORMATS: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys(
        ('coco', 'yolo', 'voc', 'labelme'),
        ('fcos_r18_fpn_bccd', 'fcos_r18_fpn_bccd', 'coco/bbox_mAP'),
    ),
    'masks': ('knet_tiny_camvid', 'knet_tiny_camvid', 'mIoU'),
    **dict.fromkeys(
        INSTANCES,
        ('knet_tiny_shapes_instance', 'knet_tiny_shapes_instance', 'coco/segm_mAP'),
    ),
    **dict.fromkeys(
        CHARACTERS,
        ('protonet_tiny_glyphs', 'protonet_tiny_omniglot', 'few_shot/test_accuracy'),
    ),
}
# Images for training and for validation, and epochs.
SIZES = {
    'cells': {'train': 96, 'val': 48, 'epochs': 6},
    'streets': {'train': 160, 'val': 60, 'epochs': 5},
    'characters': {'train': 0, 'val': 0, 'epochs': 4},
    # All that have one, and masks take longer to learn.
    'cars': {'train': 330, 'val': 94, 'epochs': 40},
    'people': {'train': 51, 'val': 58, 'epochs': 60},
}


def task_of(name: str) -> str:
    others = {'masks': 'streets'} | dict.fromkeys(CHARACTERS, 'characters')
    return name if name in INSTANCES else others.get(name, 'cells')


def cells(data: Path, sizes: dict[str, int]) -> list[made.Scene]:
    """Return BCCD's images at half their size, with their boxes."""
    import numpy as np

    made.CLASSES = CELLS
    scenes = []
    for split in ('train', 'val'):
        content = json.loads((data / f'bccd/annotations/{split}.json').read_text())
        names = {one['id']: one['name'] for one in content['categories']}
        for one in content['images'][: sizes[split]]:
            with Image.open(data / 'bccd/images' / one['file_name']) as image:
                half = image.convert('RGB').resize((320, 240), Image.Resampling.BOX)
            things = []
            for box in content['annotations']:
                if box['image_id'] == one['id']:
                    x, y, w, h = (side / 2 for side in box['bbox'])
                    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
                    things.append(made.Thing(names[box['category_id']], corners))
            name = f'{split}_{one["file_name"]}'
            scenes.append(made.Scene(name, np.asarray(half), things, split))
    return scenes


def cars(data: Path, split: str) -> tuple[Path, dict[str, Any]]:
    """Return CamVid's images with cars, and the cars as COCO's annotations.

    The label maps do not tell cars apart: each connected part is one.
    """
    import cv2
    import numpy as np
    from pycocotools import mask as run_lengths

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file in sorted((data / 'camvid/ann_dir' / split).glob('*.png')):
        with Image.open(file) as opened:
            car = np.asarray(opened) == STREETS.index('Car')
        count, parts = cv2.connectedComponents(car.astype(np.uint8))
        masks = [parts == number for number in range(1, count)]
        masks = [mask for mask in masks if mask.sum() >= LEAST]
        if not masks:
            continue
        height, width = car.shape
        image = {'id': len(images) + 1, 'file_name': f'{file.stem}.jpg'}
        images.append({**image, 'width': width, 'height': height})
        for mask in masks:
            code = run_lengths.encode(np.asfortranarray(mask))
            annotation = {'id': len(annotations) + 1, 'image_id': image['id']}
            annotation |= {'category_id': 1, 'iscrowd': 0, 'area': int(mask.sum())}
            annotation['bbox'] = run_lengths.toBbox(code).tolist()
            code['counts'] = code['counts'].decode()
            annotations.append({**annotation, 'segmentation': code})
    categories = [{'id': 1, 'name': INSTANCES['cars']}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    return data / 'camvid/img_dir' / split, content


def people(data: Path, split: str) -> tuple[Path, dict[str, Any]]:
    """Return coco100's images with people, and the people."""
    place = data / 'coco100'
    file = place / f'annotations/instances_{split}2017.json'
    content = json.loads(file.read_text())
    content['categories'] = [
        one for one in content['categories'] if one['name'] == INSTANCES['people']
    ]
    (person,) = (one['id'] for one in content['categories'])
    content['annotations'] = [
        one for one in content['annotations'] if one['category_id'] == person
    ]
    shown = {one['image_id'] for one in content['annotations']}
    content['images'] = [one for one in content['images'] if one['id'] in shown]
    return place / f'{split}2017', content


def write_instances(name: str, data: Path, root: Path, sizes: dict[str, int]) -> None:
    for split in ('train', 'val'):
        source, content = {'cars': cars, 'people': people}[name](data, split)
        if len(content['images']) != sizes[split]:
            raise SystemExit(f'{name}: {len(content["images"])} images of {split}')
        (root / split).mkdir(parents=True)
        for one in content['images']:
            shutil.copy(source / one['file_name'], root / split)
        made.write_json(root / f'annotations/instances_{split}.json', content)


def write(name: str, data: Path, root: Path, sizes: dict[str, int]) -> None:
    """Write the images in a format."""
    if name in INSTANCES:
        write_instances(name, data, root, sizes)
        return
    if name in CHARACTERS:
        for split in ('train', 'test'):
            place = data / 'omniglot_small' / split
            rows = ['filename,label']
            for folder in sorted(one for one in place.iterdir() if one.is_dir()):
                shutil.copytree(folder, root / split / folder.name)
                for one in sorted(folder.iterdir()):
                    rows.append(f'{split}/{folder.name}/{one.name},{folder.name}')
            if name == 'csv':
                (root / f'{split}.csv').write_text('\n'.join(rows))
        return
    if name == 'masks':
        for split in ('train', 'val'):
            pairs = (('img_dir', 'images', 'jpg'), ('ann_dir', 'masks', 'png'))
            for source, target, ending in pairs:
                (root / target / split).mkdir(parents=True)
                files = sorted((data / 'camvid' / source / split).glob(f'*.{ending}'))
                for one in files[: sizes[split]]:
                    shutil.copy(one, root / target / split / one.name)
        (root / 'classes.txt').write_text('\n'.join(STREETS))
        return
    made.BOXES[name](root, cells(data, sizes))


def by_hand(name: str, root: Path) -> str:
    """Return a config of the same images over a shipped one, as one writes it."""
    base = FORMATS[name][1]
    room = {'k': 'knet', 'f': 'fcos', 'p': 'dmf'}[base[0]]
    head = ['from mmengine.config import read_base', '', 'with read_base():']
    lines = [*head, f'    from paperzoo.configs.{room}.{base} import *', '']
    if name in CHARACTERS:
        lines.append(f'root = {str(root)!r}')
        for split in ('train', 'test'):
            lines.append(f"{split}_dataloader['dataset'].update(data_root=root)")
        # A seventh of the test: one command of the comparison, not of the paper.
        lines.append("test_dataloader['dataset'].update(episodes=600)")
        return '\n'.join(lines) + '\n'
    if name in INSTANCES:
        lines += [
            f'metainfo = dict(classes=({INSTANCES[name]!r},))',
            "model['rpn_head'].update(num_classes=1)",
            "model['roi_head'].update(num_thing_classes=1)",
            "model['roi_head']['mask_head'].update(num_classes=1)",
        ]
    for split in ('train', 'val'):
        if name == 'masks':
            places = f"dict(img_path='images/{split}', seg_map_path='masks/{split}')"
            more = f'data_prefix={places}'
        else:
            more = (
                f"ann_file='annotations/instances_{split}.json', "
                f"data_prefix=dict(img='{split}/')"
            )
        lines += [
            f"{split}_dataloader['dataset'].update(",
            f'    data_root={str(root)!r}, {more}',
            ')',
        ]
        if name in INSTANCES:
            lines.append(f"{split}_dataloader['dataset'].update(metainfo=metainfo)")
    lines.append('test_dataloader = val_dataloader')
    if name != 'masks':
        file = root / 'annotations/instances_val.json'
        lines.append(f'val_evaluator.update(ann_file={str(file)!r})')
        lines.append('test_evaluator = val_evaluator')
    return '\n'.join(lines) + '\n'


def shell(command: str, folder: Path, log: Path) -> float:
    """Run a command as a user types it; return the seconds it took."""
    begun = time.perf_counter()
    place = folder / 'bin'
    place.mkdir(exist_ok=True)
    script = place / 'paperzoo'
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m paperzoo "$@"\n')
    script.chmod(0o755)
    path = f'{place}{os.pathsep}{os.environ["PATH"]}'
    with log.open('a') as file:
        print(f'$ {command}', file=file, flush=True)
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env={**os.environ, 'PATH': path},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f'{command}: exit code {done.returncode}, see {log}\n'
                         + '\n'.join(log.read_text().splitlines()[-30:]))  # fmt: skip
    return round(time.perf_counter() - begun, 1)


def metric(folder: Path, config: str, name: str) -> float:
    (file,) = folder.glob(f'work_dirs/{config}/*/test_metrics.json')
    return json.loads(file.read_text())['metrics'][name]


def run(name: str, data: Path, folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Run what init prints for a format; return metric and commands."""
    model = FORMATS[name][0]
    root = folder / 'data'
    write(name, data, root, sizes)
    log = folder / 'log.txt'
    shell(f'paperzoo init data -o mine.py --model {model} --from-scratch', folder, log)
    said = log.read_text().partition('Next:\n')[2]
    commands = [line.strip() for line in said.splitlines() if line.startswith('  ')]
    seconds = {}
    for command in commands:
        verb = command.split()[1]
        extra = f' --epochs {sizes["epochs"]}' if verb == 'train' else ''
        if verb == 'test' and name in CHARACTERS:
            extra = f' --cfg-options{EPISODES}'
        seconds[verb] = shell(command + extra, folder, log)
    return {
        'commands': [one.replace(str(folder), '...') for one in commands],
        'seconds': seconds,
        **measured(name, folder, 'mine', sizes),
        'lines_of_config': len((folder / 'mine.py').read_text().splitlines()),
    }


def measured(
    name: str, folder: Path, config: str, sizes: dict[str, int]
) -> dict[str, Any]:
    """Return the metric of a config, of few-shot models the mean over seeds."""
    key = FORMATS[name][2]
    values = [metric(folder, config, key)]
    for seed in SEEDS.get(name, ()):
        work, log = f'{config}_{seed}', folder / f'log_{config}_{seed}.txt'
        where = f'--work-dir work_dirs/{work} --cfg-options randomness.seed={seed}'
        shell(f'paperzoo train {config}.py --epochs {sizes["epochs"]} {where}',
              folder, log)  # fmt: skip
        shell(f'paperzoo test {config}.py work_dirs/{work} {where}{EPISODES}',
              folder, log)  # fmt: skip
        values.append(metric(folder, work, key))
    mean = sum(values) / len(values)
    return {key: mean, 'seeds': values} if name in CHARACTERS else {key: mean}


def run_by_hand(name: str, folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Train and test the config written by hand on the images of `run`."""
    (folder / 'hand.py').write_text(by_hand(name, folder / 'data'))
    log = folder / 'log_hand.txt'
    shell(f'paperzoo train hand.py --epochs {sizes["epochs"]}', folder, log)
    last = (folder / 'work_dirs/hand/last_checkpoint').read_text()
    shell(f'paperzoo test hand.py {last}', folder, log)
    return {'base': FORMATS[name][1], **measured(name, folder, 'hand', sizes)}


def main() -> None:
    """Run all formats."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--formats', nargs='*', choices=FORMATS, default=list(FORMATS))
    parser.add_argument(
        '--by-hand',
        nargs='*',
        default=[],
        help='formats whose config by hand runs anew',
    )
    parser.add_argument(
        '--join', nargs='*', type=Path, default=[], help='results of earlier runs'
    )
    args = parser.parse_args()
    data = Path(os.environ['PAPERZOO_DATA'])
    results: dict[str, Any] = {}
    hands: dict[str, Any] = {}
    for file in args.join:
        before = json.loads(file.read_text())
        results |= before['init']
        hands |= before['by_hand']
    for name in args.formats:
        sizes = SIZES[task_of(name)]
        with tempfile.TemporaryDirectory() as made_here:
            folder = Path(made_here)
            results[name] = run(name, data, folder, sizes)
            print(name, results[name], flush=True)
            if task_of(name) not in hands or name in args.by_hand:
                hands[task_of(name)] = run_by_hand(name, folder, sizes)
                print('by hand', hands[task_of(name)], flush=True)
    record = {
        'what': 'commands of init as printed, beside a config written by hand, '
        'both from random weights for as many epochs',
        'data': 'parts of BCCD at 320x240, CamVid, Omniglot, coco100: '
        f'{SIZES}; no paper has these numbers',
        'init': results,
        'by_hand': hands,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()
