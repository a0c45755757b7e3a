"""browse: every kind of config, headless; what is drawn is what the model gets."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from paperzoo.apis.browse import browse as browse_images
from paperzoo.apis.browse import picture_of
from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.tools import browse


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Path:
    command = ['browse', *arguments, '--number', '2', '--columns', '2']
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(folder)
    browse.main()
    return max(folder.glob('browse*'), key=str)


@pytest.mark.parametrize(
    'name',
    [
        'fcos_tiny_shapes',
        'knet_tiny_shapes_instance',
        'knet_tiny_shapes_panoptic',
        'knet_tiny_shapes_semantic',
    ],
)
def test_every_kind_of_config(name: str, tmp_path: Path, monkeypatch) -> None:
    folder = run(monkeypatch, tmp_path, name)
    pictures = sorted(folder.glob('0*.jpg'))
    assert len(pictures) == 2
    height, width, _ = cv2.imread(str(folder / 'page.jpg')).shape
    assert width == 2 * (800 + 8) + 8
    assert height > 300


def test_the_seed_decides_and_nothing_is_replaced(tmp_path: Path, monkeypatch) -> None:
    folder, again = (run(monkeypatch, tmp_path, 'fcos_tiny_shapes') for _ in range(2))
    assert again.name == 'browse_2'
    for file in folder.iterdir():  # the same choice, the same augmentation
        assert (again / file.name).read_bytes() == file.read_bytes()
    other = run(monkeypatch, tmp_path, 'fcos_tiny_shapes', '--seed', '1')
    assert {file.name for file in other.iterdir()} != {
        file.name for file in folder.iterdir()
    }


def test_the_picture_is_the_image_with_its_boxes() -> None:
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[10.0, 20, 30, 36]]), labels=torch.tensor([0])
        )
    )
    picture = picture_of({'inputs': image, 'data_samples': sample}, ('cat',))
    plain = image.permute(1, 2, 0).numpy()
    changed = (picture != plain).any(axis=2)
    assert changed.any()
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 5
    assert rows.max() <= 38
    assert columns.min() >= 8
    assert not changed[25:34, 13:28].any()


def test_something_else_than_images_is_one_message() -> None:
    with pytest.raises(UserError, match=r"\['img'\]"):
        picture_of({'img': 1}, ())


def test_an_episode_is_a_row_for_each_class() -> None:
    support = torch.arange(3, dtype=torch.uint8).repeat_interleave(2) * 60
    query = torch.arange(3, dtype=torch.uint8).repeat_interleave(4) * 60
    item = {
        'support': support.view(6, 1, 1, 1).expand(6, 3, 10, 10),
        'support_label': torch.arange(3).repeat_interleave(2),
        'query': query.view(12, 1, 1, 1).expand(12, 3, 10, 10),
        'query_label': torch.arange(3).repeat_interleave(4),
    }
    picture = picture_of(item, ())
    assert picture.shape == (3 * 14, 6 * 14 + 4, 3)
    for label in range(3):
        row = picture[label * 14 : label * 14 + 10]
        assert set(np.unique(row).tolist()) == {60 * label, 255}


@pytest.mark.parametrize(
    'wrong', [{'seed': -1}, {'seed': 10**30}, {'columns': 0}], ids=str
)
def test_no_such_seed_or_page(wrong: dict[str, int], tmp_path: Path) -> None:
    cfg = load_config('fcos_tiny_shapes')
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f'--{name} {value}: it must be a whole number'):
        browse_images(cfg, number=1, out=tmp_path / 'a', **wrong)
    assert not (tmp_path / 'a').exists()
