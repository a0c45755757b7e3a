"""What the commands are given, made once: a small config, weights, images, results."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from paperzoo.apis.build import build_model
from paperzoo.apis.config import dump_config, load_config

SIZE = (48, 64)
SMALL: dict[str, Any] = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [8, 16, 32, 64],
    'model.test_cfg.score_thr': 0.0,
    'model.test_cfg.max_per_img': 3,
    'train_cfg.max_epochs': 1,
    'default_scope': 'mmdet',
}


def images_and_boxes(folder: Path, number: int) -> None:
    """Write images, each with a box, and their annotations as COCO has them."""
    random = np.random.default_rng(0)
    (folder / 'train').mkdir(parents=True)
    images, boxes = [], []
    for index in range(1, number + 1):
        picture = random.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'train' / f'{index}.jpg'), picture)
        image = {'id': index, 'file_name': f'{index}.jpg'}
        images.append({**image, 'height': SIZE[0], 'width': SIZE[1]})
        box = {'id': index, 'image_id': index, 'category_id': 1, 'iscrowd': 0}
        boxes.append({**box, 'bbox': [4, 4, 40, 30], 'area': 1200})
    content = {
        'images': images,
        'annotations': boxes,
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    }
    (folder / 'train.json').write_text(json.dumps(content))


def small_config(data: Path, file: Path) -> None:
    """Write a config that trains a small FCOS in a second."""
    options = dict(SMALL)
    options['model.bbox_head.num_classes'] = 2
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        options |= {
            f'{loader}.dataset.data_root': str(data),
            f'{loader}.dataset.ann_file': 'train.json',
            f'{loader}.dataset.data_prefix': {'img': 'train/'},
            f'{loader}.dataset.metainfo': {'classes': ('cat', 'dog')},
            f'{loader}.num_workers': 0,
            f'{loader}.persistent_workers': False,
            f'{loader}.batch_size': 2,
        }
    for split in ('val', 'test'):
        options[f'{split}_evaluator.ann_file'] = str(data / 'train.json')
    cfg = load_config('fcos_tiny_shapes', options, work_dir='work')
    cfg.pop('work_dir')
    dump_config(cfg, file)


def authors_weights(file: Path) -> None:
    """Write weights under the names of the authors' FCOS."""
    weights = {
        'module.rpn.head.cls_logits.weight': torch.ones(2, 4),
        'module.rpn.head.scales.0.scale': torch.ones(1),
    }
    torch.save({'model': weights}, file)


def results_of(images: Path, file: Path) -> None:
    """Write results as `paperzoo test --out` does."""
    files = sorted(images.iterdir())
    box = {'category_id': 0, 'category': 'cat', 'bbox': [4, 4, 40, 30]}
    content = {
        'kind': 'instances',
        'images': [
            {'id': number, 'file_name': str(one), 'height': SIZE[0], 'width': SIZE[1]}
            for number, one in enumerate(files)
        ],
        'categories': [{'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'dog'}],
        'truth': [{'image_id': number, **box} for number in range(len(files))],
        'annotations': [
            {'image_id': number, **box, 'score': 0.9} for number in range(len(files))
        ],
    }
    file.write_text(json.dumps(content))


@contextmanager
def toys() -> Iterator[Path]:
    """Yield a folder with everything, which any user may read."""
    folder = Path(tempfile.mkdtemp(prefix='paperzoo-commands-'))
    folder.chmod(0o755)
    try:
        toy = folder / 'toy'
        images_and_boxes(toy / 'data', 4)
        small_config(toy / 'data', toy / 'toy.py')
        shutil.copytree(toy / 'data' / 'train', toy / 'images')
        results_of(toy / 'images', toy / 'results.json')
        authors_weights(toy / 'authors.pth')
        torch.manual_seed(0)
        model = build_model(load_config(toy / 'toy.py'), 'cpu')
        meta = {'dataset_meta': {'classes': ('cat', 'dog')}}
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, toy / 'w.pth')
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copied(folder: Path, name: str) -> Path:
    """Return a copy of all toys; `data` of the config stays where it is."""
    own = folder / name
    shutil.copytree(folder / 'toy', own)
    file = own / 'results.json'
    text = file.read_text().replace(os.fspath(folder / 'toy'), os.fspath(own))
    file.write_text(text)
    return own
