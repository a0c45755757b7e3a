"""What FCOS's locations learn from a data set."""

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from references import fcos as reference
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.fcos import level_points
from paperzoo.fcos.target_counts import BoxesOfImage as Image
from paperzoo.fcos.target_counts import Counts
from paperzoo.tools import fcos_targets
from paperzoo.tools.fcos_targets import Annotations

CONFIGS = Path(__file__).parents[2] / 'configs'
SHAPES = CONFIGS / 'fcos' / 'fcos_tiny_shapes.py'
WAYS = [*product((True, False), (False, True))]  # ranges, centre sampling
STRIDES = [(8, 8), (16, 16), (32, 32)]
RANGES = [(-1, 28), (28, 56), (56, 1e8)]


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def shapes() -> Config:
    return Config.fromfile(str(SHAPES))


def test_counts_by_hand() -> None:
    # Points 0 to 4, of which 0 to 2 are the first level; boxes of classes 7, 7 and 2.
    rows = [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1]]
    candidates = torch.tensor(rows, dtype=torch.bool)
    counts = Counts(True, False, STRIDES)
    labels = torch.tensor([7, 7, 2])
    # The second box lies inside the first, wherever that one is ambiguous; the third
    # fits only where the first is smaller.
    assigned = torch.tensor([2, 1, 0, 2, 1])
    counts.add(candidates, assigned, labels, [3, 2])
    counts.add(candidates[:, :2] & False, assigned * 0, labels[:2], [3, 2])
    found = counts.summary()
    assert found['per_level'] == [2, 2]
    assert found['positives'] == 4
    assert found['level_shares'] == [0.5, 0.5]
    assert found['best_possible_recall'] == 2 / 5
    assert found['ambiguous_share'] == 3 / 4
    assert found['ambiguous_classes_share'] == 1 / 4


@pytest.mark.paper('fcos "Multi-level Prediction with FPN"')
def test_shapes_equal_the_loop(shapes: Config) -> None:
    pyramid = fcos_targets.pyramid_of(shapes)
    assert pyramid == fcos_targets.Pyramid(STRIDES, RANGES, 2.0)
    # Rounded, so that the loop's double precision decides alike on a range's border.
    images = [
        Image((image.boxes * 64).round() / 64, image.labels, image.size)
        for image in Annotations(shapes, 'train', 4)
    ]
    found = fcos_targets.count(pyramid, images)
    for (ranges, sampling), counts in zip(WAYS, found, strict=True):
        assert (counts.ranges, counts.center_sampling) == (ranges, sampling)
        expected = loop_counts(images, ranges, sampling)
        for name, value in expected.items():
            assert getattr(counts, name) == value, name
    assert found[0].boxes > 4


def loop_counts(images: list[Image], ranges: bool, sampling: bool) -> dict:
    totals = {'boxes': 0, 'learnt': 0, 'ambiguous': 0, 'ambiguous_classes': 0}
    per_level = [0, 0, 0]
    for image in images:
        assert image.size == (192, 256)
        sizes = [(24, 32), (12, 16), (6, 8)]
        levels = [level_points(*one) for one in zip(sizes, STRIDES, strict=True)]
        given = (
            [[tuple(point) for point in level.tolist()] for level in levels],
            STRIDES,
            RANGES if ranges else [(-1, 1e8)] * 3,
            [tuple(box) for box in image.boxes.tolist()],
            2.0 if sampling else None,
        )
        rows = reference.candidates(*given)
        labels = image.labels.tolist()
        totals['boxes'] += len(labels)
        totals['learnt'] += len({*reference.assign(*given)} - {0})
        totals['ambiguous'] += sum(sum(row) > 1 for row in rows)
        for row in rows:
            classes = {label for label, fits in zip(labels, row, strict=True) if fits}
            totals['ambiguous_classes'] += len(classes) > 1
        level_of = [n for n, level in enumerate(levels) for _ in level]
        for level, row in zip(level_of, rows, strict=True):
            per_level[level] += any(row)
    return totals | {'per_level': per_level}


def test_a_box_whose_locations_all_learn_smaller_ones_is_not_recalled() -> None:
    boxes = torch.tensor([[0.0, 0, 32, 32], [0, 0, 32, 32], [0, 0, 30, 30]])
    image = Image(boxes, torch.tensor([0, 1, 2]), (32, 32))
    pyramid = fcos_targets.Pyramid([(8, 8)], [(-1, 1e8)], 2.0)
    for counts in fcos_targets.count(pyramid, [image]):
        assert (counts.boxes, counts.learnt) == (3, 1)
        assert counts.ambiguous == sum(counts.per_level) > 0


@pytest.mark.parametrize(
    ('scale', 'keep_ratio'), [((256, 192), True), ((250, 250), True), ((90, 77), False)]
)
def test_boxes_are_those_of_the_pipeline(
    shapes: Config, scale: tuple, keep_ratio: bool
) -> None:
    shapes.test_dataloader.dataset.pipeline[1].update(
        scale=scale, keep_ratio=keep_ratio
    )
    images = Annotations(shapes, 'train', 5)
    pipeline = Compose(
        [
            *shapes.train_dataloader.dataset.pipeline[:1],
            dict(type=LoadAnnotations, with_bbox=True),
            dict(type=Resize, scale=scale, keep_ratio=keep_ratio),
            dict(type=PackDetInputs, meta_keys=('img_shape',)),
        ]
    )
    for index, image in enumerate(images):
        sample = pipeline(images.dataset.get_data_info(index))['data_samples']
        expected = sample.gt_instances.bboxes.tensor
        assert_close(image.boxes, expected, rtol=1e-6, atol=1e-4)
        assert_close(image.labels, sample.gt_instances.labels)
        padded = tuple(-(-side // 32) * 32 for side in sample.img_shape)
        assert image.size == padded


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['fcos_targets', *arguments])
    fcos_targets.main()


def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    out, picture = tmp_path / 'out.json', tmp_path / 'levels.png'
    options = ['--split', 'val', '--max-images', '3', '--out', str(out)]
    run(monkeypatch, 'fcos_tiny_shapes', *options, '--picture', str(picture))
    record = json.loads(out.read_text())
    assert record['images'] == 3
    assert [(r['ranges'], r['center_sampling']) for r in record['rows']] == WAYS
    text = capsys.readouterr().out
    assert 'images resized to 256 x 192, ratio kept' in text
    rows = [line.split() for line in text.splitlines() if '%' in line]
    assert len(rows) == 4
    for row, numbers in zip(rows, record['rows'], strict=True):
        assert row[5] == str(numbers['positives'])
        assert row[6::2] == list(map(str, numbers['per_level']))
        assert row[2] == f'{numbers["best_possible_recall"]:.2%}'
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_defaults_come_from_the_class() -> None:
    pyramid = fcos_targets.pyramid_of(Config.fromfile(str(CONFIGS / 'fcos_r50_fpn.py')))
    assert pyramid.strides == [(s, s) for s in (8, 16, 32, 64, 128)]
    assert pyramid.ranges[-1] == (512, 1e8)
    assert pyramid.radius == 1.5


@pytest.mark.parametrize('kind', ['FCOSHead', 'mmdet.FCOSHead', 'NASFCOSHead'])
def test_heads_of_mmdet(kind: str, tmp_path: Path) -> None:
    file = tmp_path / 'mine.py'
    head = {'type': kind, 'strides': [8, 16, 32, 64, 128], 'center_sample_radius': 2.5}
    file.write_text(f"default_scope = 'mmdet'\nmodel = dict(bbox_head={head!r})")
    pyramid = fcos_targets.pyramid_of(Config.fromfile(str(file)))
    assert pyramid.radius == 2.5
    assert pyramid.ranges[:2] == [(-1, 64), (64, 128)]


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (None, r'model\.bbox_head is missing'),
        ({'type': 'mmdet.RetinaHead', 'num_classes': 3}, 'has no strides'),
        ({'type': 'mmdet.ATSSHead', 'strides': [8]}, 'has no regress_ranges'),
    ],
)
def test_a_head_unlike_that_of_fcos(
    head: dict | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / 'mine.py'
    file.write_text(f'model = dict(bbox_head={head!r})' if head else 'model = dict()')
    cfg = Config.fromfile(str(file))
    with pytest.raises(UserError, match=f'mine.py: .*{message}'):
        fcos_targets.pyramid_of(cfg)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'train_dataloader.dataset': None}, 'train_dataloader.dataset is missing'),
        ({'train_dataloader.dataset.type': 'CocoDatast'}, 'Did you mean CocoDataset'),
        (
            {'train_dataloader.dataset.datasets': [{}]},
            'train_dataloader.dataset is several data sets',
        ),
        (
            {'test_dataloader.dataset.pipeline': [{'type': 'RandomResize'}]},
            'only Resize with a scale is understood',
        ),
        (
            {
                'train_dataloader.dataset.type': 'mmdet.CocoDataset',
                'train_dataloader.dataset.data_root': 'nowhere/',
            },
            'nowhere/annotations/instances_train.json.*Put the data set there',
        ),
    ],
)
def test_data_sets_that_cannot_be_counted(
    shapes: Config, change: dict, message: str
) -> None:
    for key, value in change.items():
        place, _, name = key.rpartition('.')
        part = shapes
        for step in place.split('.'):
            part = part[step]
        part[name] = value
    with pytest.raises(UserError, match=message):
        Annotations(shapes, 'train')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--max-images', '0'], 'give at least 1'),
        (['--picture', 'levels.bmp'], 'must end in .png, .jpg or .svg'),
    ],
)
def test_options(
    monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(monkeypatch, 'fcos_tiny_shapes', *options)
