"""Few-shot splits that share images, images that make no batch, too few outputs."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from paperzoo.preflight.run import preflight


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., list[str]]:
    """Look at two splits of three classes of four pictures, below train/ and val/."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for number in range(12):
            file = tmp_path / split / f'{split}{number // 4}' / f'{number}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), rng.integers(0, 255, (8, 10, 3), np.uint8))

    def look(size: int = 8, crop: bool = True, **model: int) -> list[str]:
        steps = [{'type': 'paperzoo.ImageCenterCrop', 'size': size}] if crop else []
        data = {
            'type': 'paperzoo.EpisodeDataset',
            'data_root': str(tmp_path),
            'ways': 3,
            'queries': 2,
            'pipeline': steps,
        }
        cfg = {
            'work_dir': str(tmp_path / 'work'),
            'model': {'num_classes': 3, **model},
            'train_dataloader': {'dataset': {**data, 'split': 'train'}},
            'val_dataloader': {'dataset': {**data, 'split': 'val', 'test_mode': True}},
            'val_cfg': {},
        }
        return [one.text for one in preflight(Config(cfg)) if one.stops]

    return look


def test_sound_splits_are_passed(project: Callable) -> None:
    assert project() == []


def test_equal_images_under_other_names(project: Callable, tmp_path: Path) -> None:
    moved = tmp_path / 'val' / 'val0' / 'other.png'
    moved.write_bytes((tmp_path / 'train' / 'train1' / '5.png').read_bytes())
    (text,) = project()
    assert text.startswith(
        'train_dataloader.dataset and val_dataloader.dataset share 1'
    )
    assert f'5.png and {moved}' in text


def test_a_model_of_too_few_classes(project: Callable) -> None:
    (text,) = project(num_classes=2)
    assert text.startswith('model.num_classes = 2, but train_dataloader.dataset has 3')
    assert project(num_classes=4) == []  # only said


def test_a_crop_larger_than_the_images(project: Callable) -> None:
    text, _ = project(size=9)
    assert 'train_dataloader.dataset: ImageCenterCrop: size=9 does not fit' in text


def test_images_of_several_sizes(project: Callable, tmp_path: Path) -> None:
    file = tmp_path / 'train' / 'train0' / '0.png'
    cv2.imwrite(str(file), np.zeros((9, 9, 3), np.uint8))
    (text,) = project(crop=False)
    assert 'several sizes (9 x 9, 10 x 8)' in text


def test_a_picture_that_cannot_be_read(project: Callable, tmp_path: Path) -> None:
    (tmp_path / 'val' / 'val2' / '9.png').write_bytes(b'no picture')
    (text,) = project()
    assert text.startswith('val_dataloader.dataset: image ')
