"""Label maps: a label that no class has is said, with its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset
from PIL import Image

from paperzoo.apis.config import find_config
from paperzoo.data.formats.masks import read_map
from paperzoo.data.formats.semantic import LoadMappedAnnotations, MaskFolderDataset
from paperzoo.preflight import run as preflight
from paperzoo.preflight.label_maps import ignored_labels

KEY = 'train_dataloader.dataset.data_prefix'
ROOT = 'train_dataloader.dataset.data_root'


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Config]:
    """Make a config of three images and the labels that their maps hold."""
    for folder in ('images', 'maps'):
        (tmp_path / folder).mkdir()

    def make(*labels: list[int], **options: Any) -> Config:
        for number, held in enumerate(labels):
            picture = np.full((8, 12, 3), 50, np.uint8)
            cv2.imwrite(str(tmp_path / 'images' / f'{number}.jpg'), picture)
            plane = np.resize(np.array(held, np.uint8), (8, 12))
            cv2.imwrite(str(tmp_path / 'maps' / f'{number}.png'), plane)
        dataset = {
            'type': 'BaseSegDataset',
            'data_root': str(tmp_path),
            'data_prefix': {'img_path': 'images', 'seg_map_path': 'maps'},
            'metainfo': {'classes': ('sky', 'road')},
            'pipeline': [{'type': 'LoadAnnotations'}],
            **options,
        }
        return Config(
            {
                'default_scope': 'mmseg',
                'work_dir': str(tmp_path / 'work'),
                'model': {'decode_head': {'num_classes': 2}},
                'train_dataloader': {'dataset': dataset},
            }
        )

    return make


def texts(cfg: Config) -> list[str]:
    found = preflight.preflight(cfg)
    assert all(one.stops for one in found)
    return [one.text for one in found]


def test_sound_maps_are_passed(project: Callable) -> None:
    assert texts(project([0, 1], [1, 255], [0])) == []
    # 0 is no class, 1 and 2 become 0 and 1.
    assert texts(project([0, 1, 2], [2], [0], reduce_zero_label=True)) == []


def test_labels_behind_the_last_class(project: Callable, tmp_path: Path) -> None:
    (text,) = texts(project([0, 1], [2, 7, 255], [2]))
    assert text.startswith(f'{KEY}.seg_map_path: label maps hold 2, 7, but there are 2')
    assert '(labels 0 to 1; 255 do not count)' in text
    assert str(tmp_path / 'maps' / '1.png') in text
    assert 'reduce_zero_label=True' in text


def test_labels_behind_the_last_class_are_shown(project: Callable) -> None:
    cfg = project([0, 1], [0, 1, 2, 1, 0, 1, 0, 1, 0, 1, 0, 1], [1])
    (issue,) = preflight.preflight(cfg)
    (example,) = issue.examples
    assert (example.file.name, example.text) == ('1.jpg', 'label 2')
    assert example.box == (2, 0, 1, 8)


def test_a_head_may_ignore_another_label(project: Callable) -> None:
    cfg = project([0, 1, 7])
    cfg.model.decode_head.ignore_index = 7
    assert texts(cfg) == []
    assert ignored_labels([{'a': {'ignore_index': 3}}, {'ignore_index': None}]) == {3}


def test_classes_of_a_larger_set(project: Callable) -> None:
    # mmseg moves the labels of the classes that are used, and ignores the others.
    chosen = {'type': 'ADE20KDataset', 'metainfo': {'classes': ('sky', 'wall')}}
    assert texts(project([0, 1, 3, 150], **chosen)) == []


def test_maps_and_images_that_are_missing(project: Callable, tmp_path: Path) -> None:
    cfg = project([0], [1], [0])
    (tmp_path / 'maps' / '1.png').unlink()
    whole = (tmp_path / 'images' / '2.jpg').read_bytes()
    (tmp_path / 'images' / '2.jpg').write_bytes(whole[:100])
    image, label = texts(cfg)
    assert image.startswith(f'{KEY}.img_path: 1 of 3 images')
    assert str(tmp_path / 'images' / '2.jpg') in image
    assert label.startswith(f'{KEY}.seg_map_path: a label map cannot be read')
    assert str(tmp_path / 'maps' / '1.png') in label


def test_no_image_with_the_suffix(project: Callable) -> None:
    (text,) = texts(project([0], img_suffix='.tif'))
    assert text.startswith('train_dataloader.dataset: no image is found in')
    assert "ends in '.tif'" in text
    (text,) = texts(project(data_prefix={'img_path': 'pictures'}))
    assert text.startswith('train_dataloader.dataset: ')
    assert 'pictures' in text


def test_our_own_sets_pass() -> None:
    cfg = Config.fromfile(str(find_config('knet_tiny_shapes_semantic')))
    cfg.work_dir = 'work'
    (data,) = preflight.data_sets(cfg, 'train')
    from paperzoo.preflight.label_maps import check_maps, reads_maps

    assert reads_maps(data)
    assert check_maps(data, cfg.model) == []


def test_classes_that_occur_nowhere_are_said(project: Callable) -> None:
    (issue,) = preflight.preflight(project([0, 255], [0, 255], [0, 255]))
    assert 'road: in none of 3 maps; 255 (ignored) covers 50%' in issue.text
    assert not issue.stops
    (issue,) = preflight.preflight(project([255], [255], [255]))
    assert 'sky, road: in none of 3 maps; 255 (ignored) covers 100%' in issue.text
    assert issue.stops


@pytest.mark.parametrize(
    ('plane', 'said'),
    [
        (np.zeros((8, 12, 3), np.uint8), 'are coloured pictures, not labels'),
        (np.full((8, 12), 257, np.uint16), 'hold more than 8 bits'),
        (np.zeros((4, 12), np.uint8), 'have another size than their image'),
    ],
)
def test_maps_are_looked_at_raw(
    project: Callable, tmp_path: Path, plane: np.ndarray, said: str
) -> None:
    cfg = project([0, 1], [0, 1], [0, 1])
    cv2.imwrite(str(tmp_path / 'maps' / '1.png'), plane)
    (text,) = texts(cfg)
    assert f'1 of 3 label maps that were looked at {said}' in text
    assert str(tmp_path / 'maps' / '1.png') in text


def test_indices_of_a_palette_are_labels(project: Callable, tmp_path: Path) -> None:
    cfg = project([0, 1], [0, 1], [0, 1])
    indexed = Image.fromarray(np.resize(np.array([0, 1], np.uint8), (8, 12)), 'P')
    indexed.putpalette([0, 0, 0, 200, 30, 90])
    indexed.save(tmp_path / 'maps' / '1.png')
    assert texts(cfg) == []


class Strange(BaseSegDataset):
    """A class of a user's own, which cannot be built from the config alone."""

    def load_data_list(self) -> list[dict]:
        raise ValueError('needs a database')


def test_a_set_of_its_own_kind_is_passed_over(project: Callable) -> None:
    assert texts(project([0, 1], type=Strange)) == []


@pytest.fixture
def folder(project: Callable, tmp_path: Path) -> Callable[..., Config]:
    """Make a config as init writes it, of images, label maps and names of classes."""

    def make(names: str, *labels: list[int]) -> Config:
        cfg = project(*labels)
        cfg.model.decode_head.num_classes = len(names.split())
        (tmp_path / 'maps').rename(tmp_path / 'masks')
        (tmp_path / 'classes.txt').write_text('\n'.join(names.split()))
        cfg.train_dataloader.dataset = {
            'type': MaskFolderDataset,
            'data_root': str(tmp_path),
            'metainfo': {'classes': tuple(names.split())},
            'pipeline': [{'type': LoadMappedAnnotations}],
        }
        return cfg

    return make


def test_sound_maps_of_a_folder_are_passed(folder: Callable) -> None:
    assert texts(folder('sky road', [0, 1], [1, 255], [0, 0, 255])) == []


def test_a_pipeline_may_name_the_step(folder: Callable) -> None:
    cfg = folder('sky road', [255], [255])
    cfg.train_dataloader.dataset.pipeline = [{'type': 'paperzoo.LoadMappedAnnotations'}]
    assert len(texts(cfg)) == 1


def test_a_folder_where_nothing_counts_is_refused(folder: Callable) -> None:
    (text,) = texts(folder('sky road', [255], [255], [255]))
    assert text.startswith(
        f'{ROOT}: sky, road: in none of 3 maps; 255 (ignored) covers 100%'
    )


def test_a_class_of_a_folder_that_occurs_nowhere_is_said(folder: Callable) -> None:
    (issue,) = preflight.preflight(folder('sky road never', [0, 1], [1], [0]))
    assert issue.text.startswith(f'{ROOT}: never: in none of 3 maps')
    assert 'take them out of the table of classes' in issue.text
    assert not issue.stops


def test_a_value_of_no_class_in_a_folder(
    folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of many maps only some are looked at for their values.
    monkeypatch.setattr('paperzoo.data.formats.masks._LOOK_AT', 1)
    (text,) = texts(folder('sky road', [0, 1], [0, 1], [0, 7]))
    path = tmp_path / 'masks' / '2.png'
    assert text.startswith(f'{ROOT}: {path}, row 0, column 1: 7 is the value of no cl')


def test_a_map_of_a_folder_that_is_loaded_in_another_size(
    folder: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halved(path: str, colours: bool) -> np.ndarray:
        return read_map(path, colours)[::2]

    cfg = folder('sky road', [0, 1], [0, 1])
    monkeypatch.setattr('paperzoo.data.formats.semantic.read_map', halved)
    (text,) = texts(cfg)
    assert text.startswith(
        f'{ROOT}: 2 of 2 label maps that were looked at have another'
    )
    assert '12 x 4, the image 12 x 8' in text
